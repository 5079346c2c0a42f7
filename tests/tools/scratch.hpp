#pragma once
// Running the command inside a test: a folder that is gone afterwards, and what the command printed.

#include <xtape/nn/file.hpp>
#include <xtape/tools/model_command.hpp>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace xtape::test {

namespace fs = std::filesystem;

/// A folder that is gone with the test.
struct Scratch {
    fs::path path;

    Scratch() {
        std::string pattern = (fs::temp_directory_path() / "xtape-test-XXXXXX").string();
        path = ::mkdtemp(pattern.data());
    }
    ~Scratch() { fs::remove_all(path); }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    std::string operator/(const std::string& name) const { return (path / name).string(); }
    std::string write(const std::string& name, std::string_view text) const {
        xtape::nn::atomic_write(path / name, text);
        return *this / name;
    }
};

/// Sends a stream of the process to a file for a while.
class Redirect {
public:
    Redirect(int stream, const std::string& file) : stream_(stream), saved_(::dup(stream)) {
        const int target = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        ::dup2(target, stream);
        ::close(target);
    }
    ~Redirect() {
        std::fflush(stdout);
        ::dup2(saved_, stream_);
        ::close(saved_);
    }
    Redirect(const Redirect&) = delete;
    Redirect& operator=(const Redirect&) = delete;

private:
    int stream_, saved_;
};

/// The bytes of a run's weights.
inline std::string weights(const std::string& run) { return xtape::nn::read_file(run + "/model.safetensors"); }

/// The words of a quiet `xtape train microgpt`.
inline std::vector<std::string> train_microgpt(const std::string& out, std::vector<std::string> more) {
    more.insert(more.begin(), {"train", "microgpt", "--out", out, "--quiet"});
    return more;
}

struct Outcome {
    int status;
    std::string out, error;
};

inline Outcome xtape_command(const std::vector<std::string>& words) {
    const Scratch scratch;
    std::vector<const char*> pointers{"xtape"};
    for (const std::string& word : words) pointers.push_back(word.c_str());
    int status = 0;
    {
        std::fflush(stdout);
        const Redirect out(STDOUT_FILENO, scratch / "out"), error(STDERR_FILENO, scratch / "error");
        status = xtape::tools::run_command(pointers);
    }
    return {status, xtape::nn::read_file(scratch / "out"), xtape::nn::read_file(scratch / "error")};
}

}  // namespace xtape::test
