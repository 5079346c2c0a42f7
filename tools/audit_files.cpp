#include <xtape/nn/file.hpp>
#include <xtape/nn/npy.hpp>
#include <xtape/tools/audit_files.hpp>
#include <xtape/tools/given_arrays.hpp>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace xtape::tools {
namespace {

namespace fs = std::filesystem;

/// Of the first line of an export's README.md, by which it is known again.
constexpr std::string_view title_end = ": gradients to be found";

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
            "# {}{}\n\nThe case \"{}\" of `xtape audit {}`.\nAll arrays are row-major "
            "and little-endian; f32 is float, f64 double, i32 int32.\n\n{}",
            item_.subject, title_end, item_.settings, item_.subject, brief_.text);
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
    const bool number = !which.empty() && std::ranges::all_of(which, [](char c) { return c >= '0' && c <= '9'; });
    const auto chosen_by = [&](std::size_t i) {
        if (which.empty()) return cases[i].usual;
        return number ? which == std::to_string(i + 1) : cases[i].settings.find(which) != std::string::npos;
    };
    std::vector<std::size_t> found, all(cases.size());
    std::iota(all.begin(), all.end(), std::size_t{0});
    std::ranges::copy_if(all, std::back_inserter(found), chosen_by);
    const auto exact = std::ranges::find(cases, which, &AuditCase::settings);
    if (exact != cases.end()) found = {static_cast<std::size_t>(exact - cases.begin())};
    const auto listed = [&](const std::vector<std::size_t>& some) {
        std::vector<std::string> lines;
        for (const std::size_t i : some) lines.push_back(fmt::format("{} ({})", i + 1, cases[i].settings));
        return fmt::format("{}", fmt::join(lines, ", "));
    };
    if (found.empty())
        throw UsageError(fmt::format("audit: {} has no case \"{}\"; it has {}", model, which, listed(all)));
    if (found.size() > 1)
        throw UsageError(fmt::format("audit: \"{}\" fits {} cases of {}; name one by its number: {}", which,
                                     found.size(), model, listed(found)));
    const AuditCase& chosen = cases[found.front()];
    return {model, chosen.settings, fmt::format("--case \"{}\"", chosen.settings), chosen.make, chosen.factors};
}

namespace {

/// Throws UsageError for a folder that has something else in it than an earlier export.
void refuse_other_folder(const fs::path& folder) {
    std::error_code none;
    if (!fs::is_directory(folder, none) || fs::is_empty(folder, none)) return;
    std::string title;
    std::ifstream readme(folder / "README.md");
    std::getline(readme, title);
    if (!title.ends_with(title_end))
        throw UsageError(
            fmt::format("audit: {} is not empty, and holds no earlier export: name another folder for "
                        "--export",
                        folder.string()));
}

}  // namespace

void export_case(const FileCase& item, const fs::path& folder, const ExportOptions& options) {
    refuse_other_folder(folder);
    Export(item, folder).write(options);
}

AuditReport judge_files(const FileCase& item, const fs::path& path) {
    const std::unique_ptr<Subject> subject = item.make(0);
    check_export(path, item, *subject);
    return judge_given(item, *subject, path.string(), read_given(path));
}

}  // namespace xtape::tools
