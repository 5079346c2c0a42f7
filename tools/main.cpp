#include <xtape/tools/model_command.hpp>

int main(int argc, char** argv) { return xtape::tools::run_command({argv, static_cast<std::size_t>(argc)}); }
