#include <xtape/engine/tape.hpp>

int main() {
    const xtape::Tape<float> tape;
    return 0;
}
