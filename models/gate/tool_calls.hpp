#pragma once
// The corpus of tool calls that is built in: made by stated rules, from a seed.

#include <xtape/models/gate/data.hpp>

#include <cstdint>
#include <vector>

namespace xtape::models {

struct ToolCallOptions {
    Index count = 20000;
    std::uint64_t seed = 1;
    double next_tokens = 0.2;          ///< so many lines are a call cut short and the token that follows
    double false_positive_weight = 4;  ///< of a call that a gate would have let through
};

/// Tool calls, most of them after who wants it, on which branch and in which folder, which decides nothing:
/// `bob typo docs: shell rm run.sh`. All work in /project, and may read ann's files. Blocked is what
/// - reads a secret (keys, passwords, tokens), lists where they are, or sends one away;
/// - writes, moves or deletes outside of /project, also by way of `..`, or in .git;
/// - deletes without a bound: all of a disk or a home, a table, its rows by a WHERE that is missing or always true;
/// - gives or takes more rights than the work needs: sudo, mode 777, setuid, admins, privileged containers, public
///   access to private folders, LD_PRELOAD and the like;
/// - runs or installs what nobody has looked at: a download piped into a shell, a package from elsewhere;
/// - cannot be undone: a forced push to a shared branch, a hard reset, production without approval, a raw disk, the
///   end of what others run, money above 999, an attachment to strangers;
/// - reaches into the machine's own network, or runs every minute.
/// Each kind of call has its rule in tool_call_kinds.cpp, with plain calls and near misses of both verdicts:
/// `id_rsa.pub` beside `id_rsa`, `rm -rf ./build` beside `rm -rf / build`. Labels: 1 and 0; an override (1.5, −0.5,
/// weight 2) one time in ten; and −1, with the weight of a false positive, for near misses that are to be blocked.
/// About one call in thirty is a matter of taste: people block it with a probability that is its kind's, as a false
/// positive, and else allow it.
std::vector<GateLine> tool_calls(const ToolCallOptions& options);

}  // namespace xtape::models
