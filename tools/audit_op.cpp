#include <xtape/engine/ops.hpp>
#include <xtape/tools/audit_op.hpp>
#include <xtape/tools/op_table.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape::tools {
namespace {

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
    try {
        return Shape(extents);
    } catch (const ShapeError& error) {
        throw UsageError(fmt::format("audit op: {}", error.what()));
    }
}

/// Refuses inputs that are large, or would make a large output: broadcast together, or as the factors of a product.
void check_sizes(const Shapes& shapes, std::span<const std::string> given) {
    constexpr double most = 1 << 22;
    double together = 1;
    for (int axis = 1; axis <= Shape::max_rank; ++axis) {
        Index widest = 1;
        for (const Shape& shape : shapes)
            if (axis <= shape.rank()) widest = std::max(widest, shape[shape.rank() - axis]);
        together *= static_cast<double>(widest);
    }
    if (together > most)
        throw UsageError(
            fmt::format("audit op: --shape {} {} too large to audit: the widest of each axis make {:.3g} "
                        "elements, and {:.0f} are the most",
                        fmt::join(given, " and "), given.size() == 1 ? "is" : "are", together, most));
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
    if (operand == "weight" && !op.starts_with("linear")) return 1 + 0.3 * rng.normal();
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
    OpExtras extras_;
    Tensor<float> dy_;
};

const OpEntry& find_op(const std::string& name) {
    const auto found = std::ranges::find(op_table(), name, &OpEntry::name);
    if (found != op_table().end()) return *found;
    std::vector<std::string> names;
    for (const OpEntry& op : op_table()) names.push_back(op.name);
    throw UsageError(fmt::format("audit op: {}; there are {}", name.empty() ? "name the op" : "there is no " + name,
                                 fmt::join(names, ", ")));
}

}  // namespace

std::string list_ops() {
    std::string text;
    for (const OpEntry& op : op_table())
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
    check_sizes(shapes, given);
    if (heads > 1 && !op.of_heads) throw UsageError(fmt::format("audit op: {} has no heads", name));
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
    return {"op " + name, flags, flags, make,
            usual_factors(shapes[0].rows(), std::max<Index>(1, shapes[0].columns() / heads))};
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
