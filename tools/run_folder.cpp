#include <xtape/engine/error.hpp>
#include <xtape/nn/file.hpp>
#include <xtape/tools/run_folder.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include <unistd.h>

#include <fmt/format.h>

namespace xtape::tools {
namespace {

constexpr std::size_t text_limit = std::size_t{1} << 28;
constexpr std::string_view files[] = {
    "config.json",           "tokenizer.json", "model.safetensors", "best.safetensors",
    "optimizer.safetensors", "trainer.json",   "metrics.jsonl",     "loss.svg"};

/// "name was 1, now it is 2", for each member that differs; empty where none does.
std::string differences(const std::string& name, const Json& was, const Json& is) {
    if (!was.is_object() || !is.is_object())
        return was == is ? std::string() : fmt::format("{} was {}, now it is {}", name, one_line(was), one_line(is));
    Json either = was;
    either.update(is);
    std::string all;
    for (const auto& [key, value] : either.items()) {
        const std::string one = differences(key, was.value(key, Json()), is.value(key, Json()));
        if (!one.empty()) all += (all.empty() ? "" : "; ") + one;
    }
    return all;
}

/// Whether it is a name that nn::atomic_write gives to a file of a run while it writes it.
bool is_temporary(std::string_view name) {
    constexpr std::string_view end = ".tmp";
    return name.ends_with(end) && std::ranges::any_of(files, [&](std::string_view file) {
               const std::string begin = fmt::format(".{}.", file);
               return name.starts_with(begin) &&
                      name.find_first_not_of("0123456789-", begin.size()) == name.size() - end.size();
           });
}

/// Where a step and a loss are in the drawing.
struct Axes {
    static constexpr double width = 640, height = 360, left = 56, right = 16, top = 24, bottom = 40;
    double low = std::numeric_limits<double>::infinity(), high = -low, last = 1;

    explicit Axes(std::span<const Metric> metrics) {
        for (const Metric& metric : metrics) {
            cover(metric.loss);
            cover(metric.validation);
            last = std::max(last, static_cast<double>(metric.step));
        }
        if (!(high > low)) high = (low = std::isfinite(low) ? low - 0.5 : 0) + 1;
    }

    double x(double step) const { return left + (width - left - right) * step / last; }
    double x(const Metric& metric) const { return x(static_cast<double>(metric.step)); }
    double y(double loss) const { return top + (height - top - bottom) * (high - loss) / (high - low); }

private:
    void cover(double loss) {
        if (!std::isfinite(loss)) return;
        low = std::min(low, loss);
        high = std::max(high, loss);
    }
};

/// Lines across at five losses, with these and five steps as numbers.
std::string grid(const Axes& axes) {
    std::string svg;
    for (int i = 0; i <= 4; ++i) {
        const double loss = axes.low + (axes.high - axes.low) * i / 4, step = axes.last * i / 4;
        svg += fmt::format(
            "<line x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#ddd\"/>\n"
            "<text x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{:.3g}</text>\n"
            "<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:.0f}</text>\n",
            Axes::left, Axes::width - Axes::right, axes.y(loss), axes.y(loss), Axes::left - 6, axes.y(loss) + 4, loss,
            axes.x(step), Axes::height - Axes::bottom + 18, step);
    }
    return svg;
}

/// The loss of the training.
std::string curve(const Axes& axes, std::span<const Metric> metrics) {
    std::string svg = R"(<polyline fill="none" stroke="#1f6feb" stroke-width="1.5" points=")";
    for (const Metric& metric : metrics) {
        if (std::isfinite(metric.loss)) svg += fmt::format("{:.1f},{:.1f} ", axes.x(metric), axes.y(metric.loss));
    }
    return svg + "\"/>\n";
}

/// The losses of the validation.
std::string dots(const Axes& axes, std::span<const Metric> metrics) {
    std::string svg;
    for (const Metric& metric : metrics) {
        if (std::isfinite(metric.validation))
            svg += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"#d1242f\"/>\n", axes.x(metric),
                               axes.y(metric.validation));
    }
    return svg;
}

}  // namespace

void check_writable(const std::string& flag, const std::filesystem::path& file) {
    if (file.empty()) return;
    const std::filesystem::path folder = file.has_parent_path() ? file.parent_path() : ".";
    std::error_code none;
    if (!std::filesystem::is_directory(folder, none))
        throw FileError(fmt::format("{} {}: there is no folder {}", flag, file.string(), folder.string()));
    if (std::filesystem::is_directory(file, none))
        throw FileError(fmt::format("{} {}: that is a folder", flag, file.string()));
    if (std::filesystem::is_other(file, none))
        throw FileError(fmt::format("{} {}: that is no file to replace", flag, file.string()));
    if (::access(folder.c_str(), W_OK) != 0)
        throw FileError(fmt::format("{} {}: nothing can be written into {}", flag, file.string(), folder.string()));
}

bool RunFolder::holds_run() const { return std::filesystem::exists(file("config.json")); }

std::filesystem::path RunFolder::weights() const {
    std::filesystem::path path = file(best_ ? "best.safetensors" : "model.safetensors");
    if (best_ && std::filesystem::is_directory(path_) && !std::filesystem::exists(path))
        throw FileError(
            fmt::format("{}: there is no best.safetensors: no evaluation has been reached, or nothing was held out by "
                        "--val-fraction",
                        path_.string()));
    return path;
}

bool RunFolder::is_foreign() const {
    if (!holds_run()) return false;
    try {
        const Json config = parse_json(read_text("config.json"));
        return config.is_object() && !config.contains("model");
    } catch (const FileError&) {
        return false;
    }
}

bool RunFolder::is_taken() const {
    const auto is_there = [&](std::string_view name) { return std::filesystem::exists(file(name)); };
    if (is_there("model.safetensors") || is_there("best.safetensors") || is_there("optimizer.safetensors")) return true;
    if (std::ranges::none_of(files, is_there)) return false;
    try {
        read_config();  // of a run that came to nothing; else the files are somebody's
        return false;
    } catch (const FileError&) {
        return true;
    }
}

void RunFolder::make_empty(std::string_view command) const {
    if (std::filesystem::exists(path_) && !std::filesystem::is_directory(path_))
        throw FileError(fmt::format("{}: {} is not a folder", command, path_.string()));
    std::error_code error;
    std::filesystem::create_directories(path_, error);
    if (error)
        throw FileError(fmt::format("{}: cannot make the folder {}: {}", command, path_.string(), error.message()));
    for (const std::string_view name : files) std::filesystem::remove(file(name), error);
    remove_temporaries();
}

void RunFolder::remove_temporaries() const {
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator(path_, ignored)) {
        if (is_temporary(entry.path().filename().string())) std::filesystem::remove(entry.path(), ignored);
    }
}

void RunFolder::begin(bool overwrite) const {
    if (is_taken() && !overwrite)
        throw UsageError(
            fmt::format("train: {} holds a run; say --resume to go on with it, --overwrite to replace it, "
                        "or --out for another folder",
                        path_.string()));
    make_empty("train");
}

void RunFolder::begin_converted() const {
    if (is_taken())
        throw UsageError(fmt::format("convert: {} holds a run already; name another folder", path_.string()));
    make_empty("convert");
}

Json RunFolder::read_config() const {
    if (!std::filesystem::is_directory(path_))
        throw FileError(fmt::format("{}: no such folder of a run", path_.string()));
    const std::string text = read_text("config.json");
    try {
        Json config = parse_json(text);
        (void)nn::Members(config).at("model").get<std::string>();
        return config;
    } catch (const FileError& error) {
        throw FileError(fmt::format("{}: {}", file("config.json").string(), error.what()));
    }
}

Json RunFolder::flags_of(std::string_view model) const {
    const Json config = read_config();
    if (config.at("model") != model)
        throw UsageError(fmt::format("train: {} holds a run of {}, not of {}", path_.string(),
                                     config.at("model").get<std::string>(), model));
    if (!std::filesystem::exists(file("optimizer.safetensors")))
        throw FileError(
            fmt::format("train: {} has no optimizer.safetensors, so there is no course to go on with", path_.string()));
    Json flags = config.value("flags", Json::object());
    const auto is_text = [](const Json& flag) { return flag.is_string(); };
    if (!flags.is_object() || !std::ranges::all_of(flags, is_text))
        throw FileError(fmt::format("{}: the flags are not texts by name", file("config.json").string()));
    if (!config.value("seed", Json()).is_number_unsigned())
        throw FileError(fmt::format("{}: the seed is missing, or no whole number", file("config.json").string()));
    return flags;
}

void RunFolder::check_same(const Json& wanted) const {
    const Json found = read_config();
    for (const char* key : {"config", "seed"}) {
        const std::string changes = differences(key, found.value(key, Json()), wanted.at(key));
        if (!changes.empty()) throw UsageError(fmt::format("train: {} holds another run: {}", path_.string(), changes));
    }
}

std::string RunFolder::read_text(std::string_view name) const { return nn::read_file(file(name), text_limit); }

void RunFolder::write_config(const Json& config) const {
    write_text("config.json", print_json(parse_json(one_line(config)), 1));
}

void RunFolder::write_text(std::string_view name, std::string_view text) const { nn::atomic_write(file(name), text); }

void RunFolder::write_metrics(std::span<const Metric> metrics) const {
    std::string lines;
    for (const Metric& metric : metrics) {
        Json line{{"step", metric.step}, {"loss", metric.loss}};
        if (!std::isnan(metric.validation)) line["val_loss"] = metric.validation;
        lines += one_line(line) + '\n';
    }
    write_text("metrics.jsonl", lines);
    write_text("loss.svg", loss_svg(metrics));
}

std::vector<Metric> RunFolder::read_metrics() const {
    std::vector<Metric> metrics;
    if (!std::filesystem::exists(file("metrics.jsonl"))) return metrics;
    std::istringstream lines(read_text("metrics.jsonl"));
    for (std::string line; std::getline(lines, line);) {
        try {
            const Json all = parse_json(line);
            const nn::Members parsed(all);
            const double nan = std::numeric_limits<double>::quiet_NaN();
            metrics.push_back({parsed.at("step"), parsed.at("loss"), parsed.value("val_loss", nan)});
        } catch (const FileError&) {
            throw FileError(fmt::format("{}: line {} is broken", file("metrics.jsonl").string(), metrics.size() + 1));
        }
    }
    return metrics;
}

std::string loss_svg(std::span<const Metric> metrics) {
    const Axes axes(metrics);
    return fmt::format(
               "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
               "font-family=\"sans-serif\" font-size=\"12\">\n"
               "<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n",
               Axes::width, Axes::height) +
           grid(axes) + curve(axes, metrics) + dots(axes, metrics) +
           fmt::format(
               "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">step</text>\n"
               "<text x=\"{}\" y=\"16\">loss (nats); dots: validation</text>\n</svg>\n",
               Axes::width / 2, Axes::height - 6, Axes::left);
}

}  // namespace xtape::tools
