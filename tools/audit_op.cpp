#include <xtape/engine/ops.hpp>
#include <xtape/tools/audit_op.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape::tools {
namespace {

using Shapes = std::vector<Shape>;
template <class T> using Tensors = std::span<const Tensor<T>>;

/// What an op takes besides its tensors.
struct Extras {
    std::vector<SubjectInput> indices;
    int heads = 1;

    const Indices& operator[](std::size_t i) const { return std::get<Indices>(indices[i].values); }
};

/// A generic lambda of tensors and extras, in both precisions.
struct Formula {
    template <class F> Formula(F f) : f64(f), f32(f) {}
    std::function<Tensor<double>(Tensors<double>, const Extras&)> f64;
    std::function<Tensor<float>(Tensors<float>, const Extras&)> f32;
};

/// Draws indices for inputs of these shapes.
using DrawIndices = std::function<std::vector<SubjectInput>(const Shapes&, nn::Rng&)>;

/// A line of the table: how an op is called, and what it is.
struct OpEntry {
    std::string name;
    std::vector<std::string> operands;  ///< its tensors, in order
    std::size_t given;                  ///< how many of their shapes are to be given; the others follow
    std::string formula;
    Formula apply;
    std::function<Shape(const Shapes&)> follows = {};  ///< the shape of each operand that is not given
    DrawIndices draw = {};
};

Shape last_extent(const Shapes& shapes) { return {shapes[0].columns()}; }
Shape first_shape(const Shapes& shapes) { return shapes[0]; }

Indices draw_ids(Index count, Index below, nn::Rng& rng) {
    std::vector<std::int32_t> ids;
    for (Index i = 0; i < count; ++i) ids.push_back(static_cast<std::int32_t>(rng.below(below)));
    return indices(ids);
}

std::vector<SubjectInput> draw_targets(const Shapes& shapes, nn::Rng& rng) {
    return {{"targets", "the right column of each row", draw_ids(shapes[0].rows(), shapes[0].columns(), rng)}};
}

std::vector<SubjectInput> draw_rows(const Shapes& shapes, nn::Rng& rng) {
    return {{"ids", "rows of the table", draw_ids(2 * shapes[0][0] + 1, shapes[0][0], rng)}};
}

std::vector<SubjectInput> draw_positions(const Shapes& shapes, nn::Rng&) {
    std::vector<std::int32_t> positions;
    for (Index t = 0; t < shapes[0].rows(); ++t) positions.push_back(static_cast<std::int32_t>(t));
    return {{"positions", "t of each row", indices(positions)}};
}

/// An elementwise op, or one of rows, of one tensor.
OpEntry of_one(std::string name, std::string formula, auto f) {
    return {std::move(name), {"x"}, 1, std::move(formula), [f](auto x, const Extras&) { return f(x[0]); }};
}

const std::vector<OpEntry>& table() {
    static const std::vector<OpEntry> all{
        of_one("exp", "e^x", [](const auto& x) { return exp(x); }),
        of_one("tanh", "tanh(x)", [](const auto& x) { return tanh(x); }),
        of_one("sigmoid", "1 / (1 + e^−x)", [](const auto& x) { return sigmoid(x); }),
        of_one("silu", "x / (1 + e^−x)", [](const auto& x) { return silu(x); }),
        of_one("gelu", "x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))", [](const auto& x) { return gelu(x); }),
        of_one("relu", "max(x, 0)", [](const auto& x) { return relu(x); }),
        of_one("relu_squared", "max(x, 0)²", [](const auto& x) { return relu_squared(x); }),
        of_one("softmax", "e^x / Σ e^x, over the last axis", [](const auto& x) { return softmax(x); }),
        of_one("log_softmax", "x − log Σ e^x, over the last axis", [](const auto& x) { return log_softmax(x); }),
        of_one("logsumexp", "log Σ e^x; the last axis is dropped", [](const auto& x) { return logsumexp(x); }),
        {"add", {"a", "b"}, 2, "a + b, broadcast as in NumPy", [](auto x, const Extras&) { return x[0] + x[1]; }},
        {"mul", {"a", "b"}, 2, "a b, broadcast as in NumPy", [](auto x, const Extras&) { return x[0] * x[1]; }},
        {"matmul",
         {"a", "b"},
         2,
         "a b, for a [m, k] and b [k, n]",
         [](auto x, const Extras&) { return matmul(x[0], x[1], {}, Where{}); }},
        {"linear",
         {"x", "weight", "bias"},
         2,
         "x weight + bias, for x [m, k] and weight [k, n]",
         [](auto x, const Extras&) { return linear(x[0], x[1], x[2], {}, Where{}); },
         [](const Shapes& s) { return Shape{s[1].columns()}; }},
        {"rms_norm",
         {"x", "weight"},
         1,
         "weight x / sqrt(mean(x²) + 1e-5), over the last axis",
         [](auto x, const Extras&) { return rms_norm(x[0], x[1]); },
         last_extent},
        {"layer_norm",
         {"x", "weight", "bias"},
         1,
         "weight (x − mean(x)) / sqrt(var(x) + 1e-5) + bias, over the last axis; var is the mean of the squared "
         "differences",
         [](auto x, const Extras&) { return layer_norm(x[0], x[1], x[2]); },
         last_extent},
        {"rope",
         {"x"},
         1,
         "pair (a, b) = channels 2i, 2i + 1 of each head of width h becomes (a cos φ − b sin φ, a sin φ + b cos φ), φ "
         "= t "
         "10000^(−2i/h)",
         [](auto x, const Extras& e) { return rope(x[0], e[0], {.heads = e.heads}, Where{}); },
         {},
         draw_positions},
        {"attention",
         {"q", "k", "v"},
         1,
         "o_t = Σ_(s ≤ t) softmax_s(q_t·k_s / √h) v_s, head by head, for q [N, heads h] and k, v of the same shape",
         [](auto x, const Extras& e) { return causal_attention(x[0], x[1], x[2], {}, {.heads = e.heads}, Where{}); },
         first_shape},
        {"causal_scan",
         {"a", "b"},
         1,
         "h_t = a_t h_(t−1) + b_t along the first axis, from h = 0",
         [](auto x, const Extras&) { return causal_scan(x[0], x[1]); },
         first_shape},
        {"embedding",
         {"table"},
         1,
         "the rows ids of the table",
         [](auto x, const Extras& e) { return embedding(x[0], e[0]); },
         {},
         draw_rows},
        {"cross_entropy",
         {"logits"},
         1,
         "the mean over rows of −log softmax(logits)[target]",
         [](auto x, const Extras& e) { return cross_entropy(x[0], e[0]); },
         {},
         draw_targets},
        {"mean_squared_error",
         {"x", "y"},
         1,
         "the mean of (x − y)²",
         [](auto x, const Extras&) { return mean_squared_error(x[0], x[1]); },
         first_shape},
    };
    return all;
}

Shape parse_shape(const std::string& text) {
    std::vector<Index> extents;
    const char* at = text.data();
    const char* const end = at + text.size();
    while (true) {
        Index extent = 0;
        const auto [next, error] = std::from_chars(at, end, extent);
        if (error != std::errc() || extent < 1 || (next != end && *next != ','))
            throw UsageError(fmt::format("audit op: --shape {}: a shape is whole numbers above 0, as 8,16", text));
        extents.push_back(extent);
        if (next == end) break;
        at = next + 1;
    }
    return Shape(extents);
}

/// The op in one precision: its tensors are the parameters.
template <Real T> struct OpModel {
    using Scalar = T;
    std::vector<std::string> names;
    std::vector<Parameter<T>> inputs;

    void each_parameter(auto&& visit) {
        for (std::size_t i = 0; i < inputs.size(); ++i) visit(names[i], inputs[i]);
    }
};

/// Weights of norms are drawn N(1, 0.3²), a scan's decays between 0.5 and 1, all else N(0, 1).
double draw_value(const std::string& op, const std::string& operand, nn::Rng& rng) {
    if (operand == "weight" && op != "linear") return 1 + 0.3 * rng.normal();
    if (op == "causal_scan" && operand == "a") return 0.5 + 0.5 * rng.uniform();
    return rng.normal();
}

class OpSubject final : public Subject {
public:
    OpSubject(const OpEntry& op, const Shapes& shapes, int heads, std::uint64_t seed) : op_(op) {
        nn::Rng rng(seed);
        for (std::size_t i = 0; i < shapes.size(); ++i) {
            std::vector<float> values(static_cast<std::size_t>(shapes[i].size()));
            for (float& v : values) v = static_cast<float>(draw_value(op.name, op.operands[i], rng));
            f32_.inputs.emplace_back(Tensor<float>(shapes[i], values));
            f64_.inputs.emplace_back(Tensor<double>(shapes[i], std::vector<double>(values.begin(), values.end())));
        }
        f32_.names = f64_.names = op.operands;
        extras_.heads = heads;
        if (op.draw) extras_.indices = op.draw(shapes, rng);
        const Pause pause;
        const Shape shape = output<double>().shape();
        std::vector<float> dy(static_cast<std::size_t>(shape.size()));
        for (float& v : dy) v = static_cast<float>(rng.normal());
        dy_ = Tensor<float>(shape, dy);
    }

    std::vector<NamedParameter> parameters() override {
        std::vector<NamedParameter> all;
        for (const auto& [name, parameter] : nn::parameters(f64_)) all.push_back({name, parameter});
        return all;
    }
    Tensor<double> loss() const override { return weighed(output<double>()); }
    Evaluation tape64() override { return on_tape<double>(f64_); }
    Evaluation tape32() override { return on_tape<float>(f32_); }
    Trace trace64() override {
        return trace_of_loss<double>(nn::parameters(f64_), [&] { return loss(); });
    }
    Trace trace32() override {
        return trace_of_loss<float>(nn::parameters(f32_), [&] { return weighed(output<float>()); });
    }
    Brief brief() const override {
        Brief brief{extras_.indices,
                    {{"y", dy_.shape()}, {"loss", Shape{}}},
                    fmt::format("y = {}\n\nThe loss is Σ dy y over all elements, so that dy is the gradient of y{}.\n",
                                op_.formula, extras_.heads > 1 ? fmt::format("; heads = {}", extras_.heads) : "")};
        brief.inputs.push_back({"dy", "the gradient of y", dy_});
        return brief;
    }

private:
    template <class T> Tensor<T> output() const {
        const auto& model = [&]() -> const OpModel<T>& {
            if constexpr (std::is_same_v<T, double>)
                return f64_;
            else
                return f32_;
        }();
        const std::vector<Tensor<T>> inputs(model.inputs.begin(), model.inputs.end());
        if constexpr (std::is_same_v<T, double>)
            return op_.apply.f64(inputs, extras_);
        else
            return op_.apply.f32(inputs, extras_);
    }
    template <class T> Tensor<T> weighed(const Tensor<T>& y) const {
        return sum(y * Tensor<T>(dy_.shape(), std::vector<T>(dy_.values().begin(), dy_.values().end())));
    }
    template <class T> Evaluation on_tape(OpModel<T>& model) const {
        return evaluate_on_tape(
            nn::parameters(model), [&] { return output<T>(); }, [&](const Tensor<T>& y) { return weighed(y); });
    }

    const OpEntry& op_;
    OpModel<double> f64_;
    OpModel<float> f32_;
    Extras extras_;
    Tensor<float> dy_;
};

const OpEntry& find_op(const std::string& name) {
    const auto found = std::ranges::find(table(), name, &OpEntry::name);
    if (found == table().end())
        throw UsageError(fmt::format("audit op: there is no {}; there are {}", name.empty() ? "op named" : name,
                                     fmt::join(table() | std::views::transform(&OpEntry::name), ", ")));
    return *found;
}

}  // namespace

std::string list_ops() {
    std::string text;
    for (const OpEntry& op : table())
        text += fmt::format("{:<20} --shape of {:<12} {}\n", op.name,
                            fmt::format("{}", fmt::join(std::span(op.operands).first(op.given), ", ")), op.formula);
    return text;
}

FileCase op_case(const std::string& name, std::span<const std::string> given, int heads) {
    const OpEntry& op = find_op(name);
    if (given.size() != op.given)
        throw UsageError(fmt::format("audit op: {} takes {} --shape, of {}: there are {}", name, op.given,
                                     fmt::join(std::span(op.operands).first(op.given), " and of "), given.size()));
    Shapes shapes;
    std::ranges::transform(given, std::back_inserter(shapes), parse_shape);
    while (shapes.size() < op.operands.size()) shapes.push_back(op.follows(shapes));
    const auto make = [&op, shapes, heads](std::uint64_t draw) {
        return std::make_unique<OpSubject>(op, shapes, heads, draw + 1);
    };
    try {
        make(0);
    } catch (const Error& error) {
        throw UsageError(fmt::format("audit op: {}", error.what()));
    }
    std::string flags = fmt::format("--shape {}", fmt::join(given, " --shape "));
    if (heads > 1) flags += fmt::format(" --heads {}", heads);
    return {"op " + name, flags, flags, make, usual_factors(shapes[0].rows(), shapes[0].columns() / heads)};
}

AuditReport gradcheck_op(const FileCase& item) {
    const std::unique_ptr<Subject> subject = item.make(0);
    GradReport report = check_parameters([&] { return subject->loss(); }, subject->parameters());
    report.check = fmt::format("{} ({}) against finite differences", item.subject, item.settings);
    Json rows = Json::array();
    for (const GradRow& row : report.rows) rows.push_back(to_json(row));
    return {report.passed(),
            Json{{"model", item.subject},
                 {"agree", report.passed()},
                 {"cases", {{{"settings", item.settings}, {"agree", report.passed()}, {"parameters", rows}}}},
                 {"parameters", rows}},
            report.text() + "\n"};
}

}  // namespace xtape::tools
