#include <xtape/tools/gate_command.hpp>
#include <xtape/tools/llama_command.hpp>
#include <xtape/tools/lrnn_command.hpp>
#include <xtape/tools/microgpt_command.hpp>
#include <xtape/tools/model_command.hpp>

namespace xtape::tools {

std::vector<std::unique_ptr<ModelCommand>> models() {
    std::vector<std::unique_ptr<ModelCommand>> all;
    all.push_back(microgpt_command());
    all.push_back(lrnn_command());  // before llama: it knows its checkpoints by their first bytes, llama by their names
    all.push_back(llama_command());
    all.push_back(gate_command());
    return all;
}

}  // namespace xtape::tools
