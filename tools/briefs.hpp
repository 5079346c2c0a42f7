#pragma once
// The four models in words, for who writes one anew: sizes, forward pass and loss of a configuration, as Markdown.

#include <xtape/models/gate/gate.hpp>
#include <xtape/models/llama/llama.hpp>
#include <xtape/models/lrnn/lrnn.hpp>
#include <xtape/models/microgpt/microgpt.hpp>
#include <xtape/tools/subject.hpp>

#include <span>

namespace xtape::tools {

/// Of a batch of token sequences; `vocab` is the width of its logits.
Brief brief_of(const models::Batch& batch, Index vocab, std::string text);
/// Of a batch of examples of both kinds, or one.
Brief brief_of(std::span<const models::GateExample> examples, const models::GateBatch& batch, Index vocab,
               std::string text);

std::string describe(const models::MicrogptConfig& config);
std::string describe(const models::LlamaConfig& config);
std::string describe(const models::LrnnConfig& config);
std::string describe(const models::GateConfig& config);

}  // namespace xtape::tools
