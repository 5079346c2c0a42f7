#include <xtape/models/text/prose_corpus.hpp>
#include <xtape/tools/text_run.hpp>
#include <xtape/tools/trained.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include <fmt/format.h>
#include <CLI/App.hpp>

namespace xtape::tools {

models::Text open_text(const std::string& path) {
    return path.empty() ? models::Text(models::built_in_text()) : models::Text::open(path);
}

std::string source_of_text(const std::string& path) { return path.empty() ? "the built-in text" : path; }

std::ptrdiff_t unknown_bytes(std::string_view text, const models::Tokenizer& tokenizer) {
    return std::ranges::count_if(text, [&](char byte) { return !tokenizer.knows(byte); });
}

void warn_of_unknown(const models::Text& text, const models::Tokenizer& tokenizer, const std::string& source) {
    std::ptrdiff_t unknown = 0;
    text.for_each_piece([&](std::string_view piece) { unknown += unknown_bytes(piece, tokenizer); });
    if (unknown > 0)
        fmt::print(stderr,
                   "xtape: {}: {} of {} bytes are not in the run's vocabulary of {} char tokens, and are read as its "
                   "first\n",
                   source, unknown, text.size(), tokenizer.vocab());
}

models::Tokenizer tokenizer_for(const TrainSettings& settings, const models::Text& text, const std::string& source,
                                const std::string& kind, int vocab) {
    if (!settings.resume) return models::Tokenizer::learn(kind, text, vocab);
    auto tokenizer = read_tokenizer<models::Tokenizer>(RunFolder(settings.out));
    warn_of_unknown(text, tokenizer, source);
    return tokenizer;
}

void refuse_idle_vocab(const CLI::App& app, const TrainSettings& settings, const std::string& kind) {
    const bool given = app.get_option("--vocab")->count() > 0;
    if (given && !settings.resume && kind != "bpe" && kind != "auto")
        throw UsageError(fmt::format("--vocab is the size of a bpe vocabulary, but --tokenizer is {}", kind));
}

void check_prompt(std::string_view prompt, const models::Tokenizer& tokenizer) {
    const std::string_view::const_iterator unknown =
        std::ranges::find_if(prompt, [&](char byte) { return !tokenizer.knows(byte); });
    if (unknown == prompt.end()) return;
    const auto inside = [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) == 0x80; };  // of UTF-8
    auto begin = unknown, end = unknown + 1;
    while (begin != prompt.begin() && inside(*begin)) --begin;
    while (end != prompt.end() && inside(*end)) ++end;
    throw ValueError(fmt::format("generate: `{}` of the prompt is not in the run's vocabulary of {} char tokens",
                                 std::string(begin, end), tokenizer.vocab()));
}

double loss_over(const models::TextCorpus& corpus, std::span<const models::Window> windows, std::size_t at_once,
                 const std::function<Tensor<float>(const models::Batch&)>& loss) {
    double total = 0;
    Index positions = 0;
    for (std::size_t first = 0; first < windows.size(); first += at_once) {
        const models::Batch batch = corpus.batch(windows.subspan(first, std::min(at_once, windows.size() - first)));
        total += static_cast<double>(loss(batch).item()) * static_cast<double>(batch.tokens.size());
        positions += batch.tokens.size();
    }
    return total / static_cast<double>(positions);
}

namespace {

/// Says on standard error that not all of a prompt is read, where it is too long for that.
void warn_of_unread(const std::string& prompt, const models::Tokenizer& tokenizer, Index context) {
    if (context == 0) return;
    const std::size_t tokens = tokenizer.encode_prompt(prompt).size();
    if (tokens > static_cast<std::size_t>(context))
        fmt::print(stderr,
                   "xtape: generate: the prompt has {} tokens, more than the model's context of {}; only its last half "
                   "context is read\n",
                   tokens, context);
}

/// The prompt and up to `tokens` more tokens; shows the text on standard output as it comes where `shown`.
std::string generate_text(const models::Tokenizer& tokenizer, const std::string& prompt, Index tokens,
                          const models::SamplerOptions& how, nn::Rng& rng, const Speech& speech, bool shown) {
    std::string text;
    const auto show = [&](std::string_view piece) {
        text += piece;
        if (!shown) return;
        std::fwrite(piece.data(), 1, piece.size(), stdout);
        std::fflush(stdout);
    };
    std::vector<std::int32_t> given = speech.before;
    const std::vector<std::int32_t> of_prompt = tokenizer.encode_prompt(prompt);
    given.insert(given.end(), of_prompt.begin(), of_prompt.end());
    if (given.empty()) given = tokenizer.encode("\n");
    if (given.empty()) given = {0};
    show(prompt);
    const NextToken next = speech.start();
    for (Index i = 0; i < tokens; ++i) {
        const Tensor<float> logits = next(given);
        const auto last = logits.values().last(static_cast<std::size_t>(tokenizer.vocab()));
        const std::int32_t token = models::sample(last, how, rng);
        if (tokenizer.ends_text(token)) break;
        show(tokenizer.decode(token));
        given = {token};
    }
    if (speech.stop) speech.stop(given.back());
    return text;
}

}  // namespace

Exit generate_texts(const models::Tokenizer& tokenizer, const GenerateSettings& settings, const Speech& speech) {
    const models::SamplerOptions how{.temperature = settings.temperature < 0 ? 0.8 : settings.temperature,
                                     .top_k = settings.top_k,
                                     .top_p = settings.top_p < 0 ? speech.top_p : settings.top_p};
    check_prompt(settings.prompt, tokenizer);
    warn_of_unread(settings.prompt, tokenizer, speech.context);
    nn::Rng rng(settings.seed);
    Json samples = Json::array();
    for (int i = 0; i < std::max(1, settings.samples); ++i) {
        const Index tokens = settings.tokens > 0 ? settings.tokens : 256;
        const std::string text = generate_text(tokenizer, settings.prompt, tokens, how, rng, speech, !settings.json);
        if (settings.json)
            samples.push_back(text);
        else
            fmt::print("\n");
    }
    if (settings.json) fmt::print("{}\n", one_line({{"samples", samples}}));
    return Exit::done;
}

Exit eval_text(const models::Tokenizer& tokenizer, const std::filesystem::path& data, Index context, bool json,
               const std::function<Tensor<float>(const models::Batch&)>& loss) {
    const models::Text text = models::Text::open(data);
    const models::TextCorpus corpus(text, tokenizer, 0, data.string());
    warn_of_unknown(text, tokenizer, data.string());
    const auto windows = models::side_by_side_windows(corpus.training(), context);
    const double value = finite(loss_over(corpus, windows, 16, loss));
    if (json)
        fmt::print("{}\n", one_line({{"loss", value}, {"perplexity", std::exp(value)}, {"tokens", corpus.size()}}));
    else
        fmt::print("loss {:.4f}, perplexity {:.3f}, over {} tokens\n", value, std::exp(value), corpus.size());
    return Exit::done;
}

}  // namespace xtape::tools
