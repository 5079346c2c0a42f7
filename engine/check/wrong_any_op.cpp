#include <xtape/engine/check/wrong_vjps.hpp>

#include <algorithm>

#include <fmt/format.h>

namespace xtape::check {
namespace {

// ---- of any op

/// As if the op were not there. Other inputs get what is theirs.
std::optional<Sent> passed_on(const Site& site) {
    if (site.right.empty() || !site.right[0] || site.right[0].shape() != site.dy.shape()) return {};
    return with_first(site, site.dy);
}

/// Its input 0 must be a value that some record made.
std::optional<Sent> evaluated_at(const Site& site, const Tensor<double>& x) {
    const auto inputs = site.rerun.tape().record(site.index).inputs();
    const bool made = !inputs.empty() && inputs[0] != detail::no_value && site.rerun.producer(inputs[0]);
    if (!made || !x || x.shape() != site.input(0).shape()) return {};
    return site.vjp_at(x);
}

/// At an input of the op that made its input.
std::optional<Sent> evaluated_before(const Site& site, std::size_t place) {
    const auto inputs = site.rerun.tape().record(site.index).inputs();
    if (inputs.empty() || inputs[0] == detail::no_value) return {};
    const auto producer = site.rerun.producer(inputs[0]);
    if (!producer) return {};
    const auto earlier = site.rerun.tape().record(*producer).inputs();
    if (place >= earlier.size() || earlier[place] == detail::no_value) return {};
    return evaluated_at(site, site.rerun.tape().tensor(earlier[place]));
}

std::optional<Sent> clamped(const Site& site, double limit) {
    const auto beyond = [limit](double v) { return std::abs(v) > limit; };
    if (std::ranges::none_of(site.dy.values(), beyond)) return {};
    return site.vjp(
        filled(site.dy.shape(), [&](std::size_t i) { return std::clamp(site.dy.data()[i], -limit, limit); }));
}

/// Which part of a cotangent is read.
struct Part {
    bool columns, first, alone;  ///< of its rows or columns the first or last: alone, or all but that
    const char* what;

    Tensor<double> of(const Tensor<double>& dy) const {
        const auto width = static_cast<std::size_t>(dy.shape().rank() == 0 ? 1 : dy.shape().columns());
        const std::size_t rows = dy.values().size() / width, end = (columns ? width : rows) - 1;
        return filled(dy.shape(), [&](std::size_t i) {
            const bool chosen = (columns ? i % width : i / width) == (first ? 0 : end);
            return chosen == alone ? dy.data()[i] : 0;
        });
    }
};

/// What a part of the cotangent sends, to all inputs or to one, the others getting what is theirs.
std::optional<Sent> of_part(const Site& site, const Part& part, std::optional<std::size_t> input) {
    if (site.dy.values().size() < 2 || (input && (*input >= site.right.size() || !site.right[*input]))) return {};
    const Sent sent = site.vjp(part.of(site.dy));
    if (!input) return sent;
    Sent one = site.right;
    one[*input] = sent[*input];
    return one;
}

/// What is meant for one input goes to another of its shape.
std::optional<Sent> exchanged(const Site& site, std::size_t one, std::size_t other) {
    const Sent& right = site.right;
    if (other >= right.size() || !right[one] || !right[other] || right[one].shape() != right[other].shape()) return {};
    Sent sent = right;
    std::swap(sent[one], sent[other]);
    return sent;
}

void add_parts(std::vector<KnownMistake>& all) {
    constexpr Part parts[] = {
        {false, false, true, "only the last row of the cotangent is read"},
        {false, true, true, "only the first row of the cotangent is read"},
        {false, false, false, "the last row of the cotangent is left out"},
        {false, true, false, "the first row of the cotangent is left out"},
        {true, false, false, "the last column of the cotangent is left out"},
        {true, true, false, "the first column of the cotangent is left out"},
    };
    for (const Part& part : parts) {
        all.push_back({"", part.what, [part](const Site& s) { return of_part(s, part, {}); }});
        for (const std::size_t input : {0u, 1u, 2u})
            all.push_back({"",
                           fmt::format("{} in the gradient of input {}{}", part.what, input,
                                       part.alone ? ": overwritten instead of accumulated?" : ""),
                           [part, input](const Site& s) { return of_part(s, part, input); }});
    }
}

}  // namespace

void add_mistakes_of_any_op(std::vector<KnownMistake>& all) {
    all.push_back(
        {"", "the gradients of its first two inputs are exchanged", [](const Site& s) { return exchanged(s, 0, 1); }});
    all.push_back({"", "the gradients of its second and third inputs are exchanged",
                   [](const Site& s) { return exchanged(s, 1, 2); }});
    all.push_back({"", "the gradient is passed on unchanged, as if the op were not there", passed_on});
    all.push_back({"", "the vjp is evaluated at the op's output instead of its input",
                   [](const Site& s) { return evaluated_at(s, s.output()); }});
    all.push_back({"", "the vjp is evaluated at another value: the first operand of what made its input",
                   [](const Site& s) { return evaluated_before(s, 0); }});
    all.push_back({"", "the vjp is evaluated at another value: the second operand of what made its input",
                   [](const Site& s) { return evaluated_before(s, 1); }});
    for (const double limit : {1.0, 5.0, 10.0, 50.0, 100.0})
        all.push_back({"", fmt::format("the gradient of the op's output is clamped to ±{}", limit),
                       [limit](const Site& s) { return clamped(s, limit); }});
    add_parts(all);
}

}  // namespace xtape::check
