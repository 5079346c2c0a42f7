#include <xtape/models/text/prose_corpus.hpp>
#include <xtape/models/text/prose_parts.hpp>
#include <xtape/nn/init.hpp>

#include <cctype>
#include <map>
#include <string>
#include <vector>

namespace xtape::models {
namespace {

using Strings = std::vector<std::string>;

Strings split(std::string_view text, std::string_view separator) {
    Strings parts;
    while (true) {
        const std::size_t end = text.find(separator);
        parts.emplace_back(text.substr(0, end));
        if (end == std::string_view::npos) return parts;
        text.remove_prefix(end + separator.size());
    }
}

bool is_letter(char c) { return std::isalpha(static_cast<unsigned char>(c)) != 0; }
char upper(char c) { return static_cast<char>(std::toupper(static_cast<unsigned char>(c))); }
char lower(char c) { return static_cast<char>(std::tolower(static_cast<unsigned char>(c))); }

/// Puts stories and letters together from the grammar. A rule deals its alternatives like a shuffled pack of cards, so
/// that none comes again before all have come.
class ProseMaker {
public:
    explicit ProseMaker(std::uint64_t seed) : rng_(seed) {
        std::string rule;
        for (const std::string& line : split(prose_grammar(), "\n")) {
            if (line.starts_with("= ")) {
                for (std::string& item : split(std::string_view(line).substr(2), " / ")) add(rule, std::move(item));
            } else if (line.starts_with("- ")) {
                add(rule, line.substr(2));
            } else if (line.starts_with("  ")) {
                rules_[rule].alternatives.back() += line.substr(1);
            } else {
                rule = line.substr(0, line.find(':'));
            }
        }
    }

    std::string story() {
        const bool she = rng_.below(2) == 0;
        remembered_ = she ? Names{{"they", "she"}, {"They", "She"}, {"them", "her"}, {"their", "her"}}
                          : Names{{"they", "he"}, {"They", "He"}, {"them", "him"}, {"their", "his"}};
        remembered_["Hero"] = deal(she ? "woman" : "man");
        return sentences({"title"}) + "\n\n" + sentences({"opening", "weather", "want"}) + "\n\n" +
               sentences({"trouble", "talk", "attempt"}) + "\n\n" + sentences({"talk", "turn", "ending", "remark"});
    }

    std::string letter() {
        return sentences({"greeting"}) + "\n\n" + sentences({"letter", "letter", "letter", "letter", "letter"}) +
               "\n\n" + sentences({"farewell"});
    }

private:
    using Names = std::map<std::string, std::string>;
    struct Rule {
        Strings alternatives;
        std::size_t dealt = 0;
    };

    void add(const std::string& rule, std::string alternative) {
        rules_[rule].alternatives.push_back(std::move(alternative));
    }

    const std::string& deal(const std::string& name) {
        Rule& rule = rules_.at(name);
        if (rule.dealt % rule.alternatives.size() == 0) rng_.shuffle(rule.alternatives);
        return rule.alternatives[rule.dealt++ % rule.alternatives.size()];
    }

    std::string sentences(std::initializer_list<const char*> rules) {
        std::string text;
        for (const char* rule : rules) {
            std::string sentence = expand(deal(rule));
            sentence[0] = upper(sentence[0]);
            text += (text.empty() ? "" : " ") + sentence;
        }
        return text;
    }

    /// Puts one of the rule's alternatives for each `$rule`; for each `$Rule` always the same within a story.
    std::string expand(std::string_view text) {
        std::string expanded;
        for (std::size_t i = 0; i < text.size();) {
            if (text[i] != '$') {
                expanded += text[i++];
                continue;
            }
            std::string name;
            while (++i < text.size() && is_letter(text[i])) name += text[i];
            expanded += replacement(std::move(name));
        }
        return expanded;
    }

    std::string replacement(std::string name) {
        if (const auto known = remembered_.find(name); known != remembered_.end()) return known->second;
        if (name[0] == lower(name[0])) return expand(deal(name));
        std::string rule = name;
        rule[0] = lower(rule[0]);
        return remembered_[name] = expand(deal(rule));
    }

    nn::Rng rng_;
    std::map<std::string, Rule> rules_;
    Names remembered_;
};

/// A tale with one line for each paragraph.
std::string unwrapped(const std::string& tale) {
    std::string text;
    for (const std::string& paragraph : split(tale, "\n\n")) {
        if (!text.empty()) text += "\n\n";
        for (const char c : paragraph) text += c == '\n' ? ' ' : c;
    }
    return text;
}

std::string make_text() {
    ProseMaker maker(1);
    std::string text;
    for (const std::string& tale : split(prose_tales(), "\n\n\n")) {
        for (const std::string& piece : {unwrapped(tale), maker.story(), maker.letter(), maker.story()})
            text += piece + "\n\n";
    }
    return text;
}

}  // namespace

std::string_view built_in_text() {
    static const std::string text = make_text();
    return text;
}

}  // namespace xtape::models
