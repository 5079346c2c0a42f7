#include <xtape/tools/llama_command.hpp>
#include <xtape/tools/microgpt_command.hpp>
#include <xtape/tools/model_command.hpp>

namespace xtape::tools {

std::vector<std::unique_ptr<ModelCommand>> models() {
    std::vector<std::unique_ptr<ModelCommand>> all;
    all.push_back(microgpt_command());
    all.push_back(llama_command());
    return all;
}

}  // namespace xtape::tools
