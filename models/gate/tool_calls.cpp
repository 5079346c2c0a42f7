#include <xtape/models/gate/tool_call_kinds.hpp>
#include <xtape/models/gate/tool_calls.hpp>
#include <xtape/nn/init.hpp>

#include <cctype>
#include <utility>

#include <fmt/format.h>

namespace xtape::models {
namespace {

const Texts& words_for(std::string_view slot) {
    static const std::vector<std::pair<std::string_view, Texts>> slots{
        {"dir",
         {"src", "build", "docs", "data", "tests", "assets", "config", "scripts", "reports", "cache", "logs",
          "models"}},
        {"file",
         {"notes.txt", "main.cpp", "index.html", "report.pdf", "setup.py", "data.csv", "run.sh", "todo.md", "app.js",
          "table.json", "image.png", "install.sh"}},
        {"user", {"ann", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"}},
        {"key", {"id_rsa", "id_ed25519", "id_ecdsa"}},
        {"host",
         {"shop.net", "weather.org", "news.io", "maps.dev", "wiki.info", "files.cloud", "bank.biz", "radio.fm"}},
        {"branch", {"fix-parser", "new-login", "refactor", "wip", "experiment", "issue-7", "typo", "faster-sort"}},
        {"package", {"numpy", "flask", "react", "redis", "lodash", "nginx", "pandas", "express"}},
        {"table", {"orders", "customers", "invoices", "sessions", "products", "events"}},
        {"column", {"id", "name", "price", "created", "status", "email"}},
        {"word",
         {"hello", "start", "backup", "sync", "report", "alpha", "summary", "worker", "lint", "release-notes",
          "metrics", "green"}},
        {"n", {"1", "2", "3", "4", "5", "6", "7", "8", "9"}},
    };
    for (const auto& [name, words] : slots) {
        if (name == slot) return words;
    }
    throw ValueError(fmt::format("tool_calls: no words for the slot {{{}}}", slot));
}

std::string_view pick(const Texts& texts, nn::Rng& rng) {
    return texts[static_cast<std::size_t>(rng.below(static_cast<Index>(texts.size())))];
}

std::string fill(std::string_view pattern, nn::Rng& rng) {
    std::string text;
    while (!pattern.empty()) {
        const std::size_t open = pattern.find('{');
        text += pattern.substr(0, open);
        if (open == std::string_view::npos) break;
        const std::size_t close = pattern.find('}', open);
        text += pick(words_for(pattern.substr(open + 1, close - open - 1)), rng);
        pattern.remove_prefix(close + 1);
    }
    return text;
}

GateLine decision(const ToolCallKind& kind, const ToolCallOptions& options, nn::Rng& rng) {
    const auto line = [&](const Texts& calls, double label, double weight) {
        std::string call = rng.uniform() < 0.2 ? std::string() : fill("{user} {branch} {dir}: ", rng);
        call += fill(pick(calls, rng), rng);
        return GateLine{.input = std::move(call), .label = label, .weight = weight};
    };
    if (!kind.disputed.empty() && rng.uniform() < 0.125) {
        const bool blocked = rng.uniform() < kind.block;
        return line(kind.disputed, blocked ? -1 : 1, blocked ? options.false_positive_weight : 1);
    }
    const bool block = !kind.blocked.empty() && rng.uniform() < 0.5, near_miss = rng.uniform() < 0.4;
    const bool overridden = rng.uniform() < 0.1;
    if (block && near_miss) return line(kind.near_blocked, -1, options.false_positive_weight);
    const Texts& calls = block ? kind.blocked : near_miss ? kind.near_allowed : kind.allowed;
    if (overridden) return line(calls, block ? -0.5 : 1.5, 2);
    return line(calls, block ? 0 : 1, 1);
}

/// The call up to one of its words or marks, which is what comes next.
GateLine next_token(const std::string& call, nn::Rng& rng) {
    const auto in_word = [&](std::size_t i) {
        return std::isalnum(static_cast<unsigned char>(call[i])) != 0 || call[i] == '_';
    };
    const auto end_of = [&](std::size_t i) {
        if (!in_word(i)) return i + 1;
        while (i < call.size() && in_word(i)) ++i;
        return i;
    };
    std::vector<std::size_t> begins;
    for (std::size_t i = end_of(0); i < call.size(); i = end_of(i)) begins.push_back(i);
    const std::size_t cut = begins[static_cast<std::size_t>(rng.below(static_cast<Index>(begins.size())))];
    return {.input = call.substr(0, cut), .next = call.substr(cut, end_of(cut) - cut)};
}

}  // namespace

std::vector<GateLine> tool_calls(const ToolCallOptions& options) {
    if (options.count < 0)
        throw ValueError(fmt::format("tool_calls: the count must not be negative: it is {}", options.count));
    const std::vector<ToolCallKind>& kinds = tool_call_kinds();
    nn::Rng rng(options.seed);
    std::vector<GateLine> lines;
    for (Index i = 0; i < options.count; ++i) {
        const ToolCallKind& kind = kinds[static_cast<std::size_t>(rng.below(static_cast<Index>(kinds.size())))];
        GateLine line = decision(kind, options, rng);
        lines.push_back(rng.uniform() < options.next_tokens ? next_token(line.input, rng) : std::move(line));
    }
    return lines;
}

}  // namespace xtape::models
