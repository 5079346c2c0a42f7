#include <xtape/tools/gate_run.hpp>
#include <xtape/tools/text_run.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <unistd.h>

#include <fmt/format.h>

namespace xtape::tools {

using models::Gate;
using models::GateExample;

namespace {

constexpr std::size_t windows_at_once = 64;
constexpr std::size_t longest_line = std::size_t{1} << 24;

/// Lines of a file descriptor, with their numbers.
class LineReader {
public:
    LineReader(int file, const std::string& source) : file_(file), source_(source) {}

    struct Line {
        Index number;
        std::string text;
    };

    /// Waits for some input and gives the lines that are complete by then; nothing at the end of the file.
    std::vector<Line> read() {
        std::vector<Line> lines;
        while (lines.empty() && !ended_) {
            char bytes[1 << 16];
            const ssize_t count = ::read(file_, bytes, sizeof bytes);
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) throw FileError(fmt::format("{}: cannot be read: {}", source_, std::strerror(errno)));
            pending_.append(bytes, static_cast<std::size_t>(count));
            ended_ = count == 0;
            take(lines);
        }
        return lines;
    }

private:
    void take(std::vector<Line>& lines) {
        std::size_t begin = 0;
        for (std::size_t end; (end = pending_.find('\n', begin)) != std::string::npos; begin = end + 1)
            lines.push_back({++number_, pending_.substr(begin, end - begin)});
        pending_.erase(0, begin);
        if (pending_.size() > longest_line)
            throw FileError(fmt::format("{}: line {} is longer than {} bytes", source_, number_ + 1, longest_line));
        if (ended_ && !pending_.empty()) lines.push_back({++number_, std::exchange(pending_, {})});
    }

    int file_;
    const std::string& source_;
    std::string pending_;
    Index number_ = 0;
    bool ended_ = false;
};

/// The text of a call; empty for a blank line. Throws FileError for one that is no call, or without a token.
std::string call_of(const LineReader::Line& line, const models::Tokenizer& tokenizer, const std::string& source) {
    const std::size_t first = line.text.find_first_not_of(" \t\r");
    if (first == std::string::npos) return {};
    const std::string where = fmt::format("{}: line {}", source, line.number);
    std::string call = line.text[first] == '{' ? models::parse_gate_input(line.text, where)
                                               : line.text.substr(0, line.text.find_last_not_of('\r') + 1);
    if (tokenizer.encode(call).empty())
        throw FileError(fmt::format("{}: `{:.40}` has no tokens in the run's vocabulary", where, call));
    return call;
}

void answer(const Gate<float>& model, const models::Tokenizer& tokenizer, std::span<const std::string> calls,
            std::FILE* out) {
    const std::vector<double> allow = allow_probabilities(model, tokenizer, calls);
    std::string text;
    for (std::size_t i = 0; i < calls.size(); ++i) {
        const Json line{{"input", calls[i]}, {"allow", allow[i]}, {"decision", allow[i] >= 0.5 ? "allow" : "block"}};
        text += one_line(line) + '\n';
    }
    if (std::fwrite(text.data(), 1, text.size(), out) != text.size())
        throw FileError(fmt::format("predict: cannot write: {}", std::strerror(errno)));
}

}  // namespace

std::vector<double> allow_probabilities(const Gate<float>& model, const models::Tokenizer& tokenizer,
                                        std::span<const std::string> texts) {
    const auto context = static_cast<std::size_t>(model.config().context);
    std::vector<double> allow(texts.size(), 1);
    std::vector<GateExample> windows;
    std::vector<std::size_t> text_of;
    const auto judge = [&] {
        const std::vector<double> probabilities = model.predict(models::pack(windows));
        for (std::size_t i = 0; i < windows.size(); ++i)
            allow[text_of[i]] = std::min(allow[text_of[i]], probabilities[i]);
        windows.clear();
        text_of.clear();
    };
    for (std::size_t i = 0; i < texts.size(); ++i) {
        const std::vector<std::int32_t> tokens = tokenizer.encode(texts[i]);
        if (tokens.empty()) throw ValueError(fmt::format("gate: `{}` has no tokens", texts[i]));
        for (std::size_t begin = 0; begin == 0 || begin + context / 2 < tokens.size(); begin += (context + 1) / 2) {
            const auto first = tokens.begin() + static_cast<std::ptrdiff_t>(begin);
            const std::size_t count = std::min(context, tokens.size() - begin);
            windows.push_back({.tokens = {first, first + static_cast<std::ptrdiff_t>(count)}});
            text_of.push_back(i);
            if (windows.size() == windows_at_once) judge();
        }
    }
    if (!windows.empty()) judge();
    return allow;
}

void answer_lines(const Gate<float>& model, const models::Tokenizer& tokenizer, int in, const std::string& source,
                  std::FILE* out) {
    std::ptrdiff_t unknown = 0;
    LineReader reader(in, source);
    for (auto lines = reader.read(); !lines.empty(); lines = reader.read()) {
        std::vector<std::string> calls;
        try {
            for (const auto& line : lines) {
                if (std::string call = call_of(line, tokenizer, source); !call.empty())
                    calls.push_back(std::move(call));
            }
        } catch (const FileError&) {
            answer(model, tokenizer, calls, out);
            throw;
        }
        answer(model, tokenizer, calls, out);
        std::fflush(out);
        for (const std::string& call : calls) unknown += unknown_bytes(call, tokenizer);
    }
    if (unknown > 0)
        fmt::print(stderr, "xtape: {}: {} bytes are not in the run's vocabulary, and are read as its first\n", source,
                   unknown);
}

}  // namespace xtape::tools
