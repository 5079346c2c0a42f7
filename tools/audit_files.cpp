#include <xtape/nn/file.hpp>
#include <xtape/nn/npy.hpp>
#include <xtape/tools/audit_files.hpp>
#include <xtape/tools/given_arrays.hpp>

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape::tools {
namespace {

namespace fs = std::filesystem;

/// The case that is exported unless another is chosen: ragged, and with all that the model usually has.
std::string usual_case(const std::string& model) {
    if (model == "microgpt") return "norm attention, act relu, layers 1, 4 names packed";
    if (model == "llama") return "kv_heads 2, untied, rope interleaved, 4 sequences packed";
    if (model == "lrnn") return "heads 2, slots 2, 4 sequences packed";
    return "";
}

std::string row_of(const std::string& name, const Shape& shape, std::string_view dtype, const std::string& meaning) {
    return fmt::format("| `{}` | {} | {} | {} |\n", name, to_string(shape), dtype, meaning);
}

void make_folder(const fs::path& folder) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) throw FileError(fmt::format("export: cannot make {}: {}", folder.string(), error.message()));
}

/// Writes GROUP.safetensors, and GROUP/NAME.npy for each array.
void write_group(const fs::path& folder, const std::string& group, const std::vector<nn::ConstArray>& arrays,
                 const nn::Metadata& marks) {
    make_folder(folder / group);
    nn::save_arrays(folder / (group + ".safetensors"), arrays, marks);
    for (const nn::ConstArray& array : arrays) {
        std::visit(
            [&](const auto& values) { nn::write_npy(folder / group / (array.name + ".npy"), array.shape, values); },
            array.values);
    }
}

/// The exported folder, group by group, and the README that grows with it.
class Export {
public:
    Export(const FileCase& item, fs::path folder)
        : item_(item), folder_(std::move(folder)), subject_(item.make(0)), brief_(subject_->brief()) {}

    void write(const ExportOptions& options) {
        const Evaluation truth = subject_->tape64();
        parameters();
        inputs();
        forward(truth);
        if (options.activations) activations();
        if (options.answers) answers(truth);
        write_back(options);
        make_folder(folder_ / "gradients");
        nn::atomic_write(folder_ / "README.md", readme_);
    }

private:
    void heading(std::string_view group, std::string_view what) {
        readme_ += fmt::format(
            "\n## `{0}.safetensors`, and `{0}/NAME.npy` for each\n\n{1}\n\n| name | shape | dtype | what |\n"
            "| --- | --- | --- | --- |\n",
            group, what);
    }

    void parameters() {
        readme_ = fmt::format(
            "# {}: gradients to be found\n\nThe case \"{}\" of `xtape audit {}`.\nAll arrays are row-major "
            "and little-endian; f32 is float, f64 double, i32 int32.\n\n{}",
            item_.subject, item_.settings, item_.subject, brief_.text);
        heading("parameters", "What the loss is differentiated by.");
        std::vector<std::vector<float>> values;
        std::vector<nn::ConstArray> arrays;
        for (const auto& [name, parameter] : subject_->parameters())
            values.emplace_back(parameter->values().begin(), parameter->values().end());
        for (const auto& [name, parameter] : subject_->parameters()) {
            arrays.emplace_back(name, parameter->shape(), std::span<const float>(values[arrays.size()]));
            readme_ += row_of(name, parameter->shape(), "f32", "");
        }
        write_group(folder_, "parameters", arrays, marks_);
    }

    void inputs() {
        heading("inputs", "What else the loss depends on.");
        std::vector<nn::ConstArray> arrays;
        for (const SubjectInput& input : brief_.inputs) {
            std::visit([&](const auto& x) { arrays.emplace_back(input.name, x.shape(), x.values()); }, input.values);
            readme_ +=
                row_of(input.name, arrays.back().shape, input.values.index() == 0 ? "i32" : "f32", input.meaning);
        }
        write_group(folder_, "inputs", arrays, marks_);
    }

    void forward(const Evaluation& truth) {
        heading("forward", "What a forward pass in double gives: check yours first.");
        std::vector<nn::ConstArray> arrays;
        std::span<const double> rest = truth.output;
        for (const auto& [name, shape] : brief_.outputs) {
            arrays.emplace_back(name, shape, rest.first(static_cast<std::size_t>(shape.size())));
            rest = rest.subspan(static_cast<std::size_t>(shape.size()));
            readme_ += row_of(name, shape, "f64", "");
        }
        write_group(folder_, "forward", arrays, marks_);
    }

    void activations() {
        const Trace trace = subject_->trace64();
        std::vector<nn::ConstArray> values, gradients;
        heading("activations",
                "Every intermediate value, named by the scope and the op that made it, in the order of a backward pass "
                "(the "
                "last made first); and in `activation_gradients.safetensors` and `activation_gradients/NAME.npy` the "
                "gradient of the loss by each.");
        for (const Intermediate& one : trace) {
            if (one.inputs.empty()) continue;
            values.emplace_back(one.name, one.shape, std::span(one.value));
            if (!one.gradient.empty()) gradients.emplace_back(one.name, one.shape, std::span(one.gradient));
        }
        for (auto one = trace.rbegin(); one != trace.rend(); ++one) {
            std::vector<std::string> of;
            for (const std::size_t input : one->inputs) of.push_back("`" + trace[input].name + "`");
            if (!of.empty()) readme_ += row_of(one->name, one->shape, "f64", fmt::format("of {}", fmt::join(of, ", ")));
        }
        write_group(folder_, "activations", values, marks_);
        write_group(folder_, "activation_gradients", gradients, marks_);
    }

    void answers(const Evaluation& truth) {
        heading("answers",
                "The gradients that are to be found, by the tape in double. The metadata of the safetensors file say "
                "how far "
                "rounding takes f32 from each, relative to its largest element.");
        std::vector<nn::ConstArray> arrays;
        for (const auto& [name, parameter] : subject_->parameters()) {
            arrays.emplace_back(name, parameter->shape(), std::span(truth.gradients[arrays.size()]));
            readme_ += row_of(name, parameter->shape(), "f64", "");
        }
        nn::Metadata marks = marks_;
        const NoiseFloors noise = noise_floors(*subject_, item_.make, truth);
        for (std::size_t i = 0; i < arrays.size(); ++i)
            marks["noise of " + arrays[i].name] = fmt::format("{:.3g}", noise.gradients[i]);
        write_group(folder_, "answers", arrays, marks);
    }

    void write_back(const ExportOptions& options) {
        std::vector<std::string> outputs;
        for (const auto& [name, shape] : brief_.outputs) outputs.push_back("`" + name + "`");
        readme_ +=
            fmt::format(R"(
## What to write back

Either `gradients.safetensors` in this folder, or `NAME.npy` in its folder `gradients`: the gradient of the loss by each parameter, under
the parameter's name and in its shape. Files in f32 are judged by how far rounding takes f32; files in f64 by what double
can do, so write f32 what was computed in f32. What is given of {} under these names is judged first{}.

    xtape audit {} {} --against {}
)",
                        fmt::join(outputs, ", "),
                        options.activations ? ";\nof gradients of intermediates under theirs, the first that departs "
                                              "is named"
                                            : "",
                        item_.subject, item_.flags, folder_.string());
    }

    const FileCase& item_;
    fs::path folder_;
    std::unique_ptr<Subject> subject_;
    Brief brief_;
    nn::Metadata marks_{{"subject", item_.subject}, {"case", item_.settings}};
    std::string readme_;
};

}  // namespace

FileCase choose_case(const std::string& model, std::span<const AuditCase> cases, const std::string& which) {
    const std::string wanted = which.empty() ? usual_case(model) : which;
    const bool number = !wanted.empty() && std::ranges::all_of(wanted, [](char c) { return c >= '0' && c <= '9'; });
    std::string listed;
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < cases.size(); ++i) {
        const std::string& settings = cases[i].settings;
        listed += fmt::format("; {}: {}", i + 1, settings);
        if (number ? wanted == std::to_string(i + 1) : settings.find(wanted) != std::string::npos) found.push_back(i);
    }
    const auto exact = std::ranges::find(cases, wanted, &AuditCase::settings);
    if (exact != cases.end()) found = {static_cast<std::size_t>(exact - cases.begin())};
    if (which.empty() && !cases.empty()) found = {found.empty() ? 0 : found.front()};
    if (found.size() != 1)
        throw UsageError(fmt::format("audit: {} of the cases of {} are \"{}\"; there are{}", found.size(), model,
                                     wanted, listed.substr(std::min<std::size_t>(1, listed.size()))));
    const AuditCase& chosen = cases[found.front()];
    return {model, chosen.settings, fmt::format("--case \"{}\"", chosen.settings), chosen.make, chosen.factors};
}

void export_case(const FileCase& item, const fs::path& folder, const ExportOptions& options) {
    std::error_code none;
    if (fs::exists(folder / "README.md", none) && !fs::exists(folder / "parameters.safetensors", none) &&
        !fs::exists(folder / "inputs.safetensors", none))
        throw UsageError(
            fmt::format("audit: {} has a README.md and is no earlier export: name another folder for "
                        "--export",
                        folder.string()));
    Export(item, folder).write(options);
}

AuditReport judge_files(const FileCase& item, const fs::path& path) {
    const std::unique_ptr<Subject> subject = item.make(0);
    check_export(path, item, *subject);
    return judge_given(item, *subject, path.string(), read_given(path));
}

}  // namespace xtape::tools
