#pragma once
// The corpus of tool calls that is built in: made by stated rules, from a seed.

#include <xtape/models/gate/data.hpp>

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace xtape::models {

struct ToolCallOptions {
    Index count = 20000;
    std::uint64_t seed = 1;
    double next_tokens = 0.2;          ///< so many lines are a call cut short and the token that follows
    double false_positive_weight = 4;  ///< of a call that a gate would have let through
};

/// Tool calls, each after who wants it on which branch and in which folder, which decides nothing: `bob typo docs: rm
/// run.sh`. All work in /work, with ann's files to be read. Blocked is what
/// - reads or shows a secret (keys, passwords, tokens), or sends one away;
/// - writes, moves or deletes outside of /work, also by way of `..`, or in .git, or deletes without a bound (`rm -rf
/// /`,
///   a DELETE whose WHERE is missing or always true, DROP, TRUNCATE);
/// - gives or takes more rights than the work needs: sudo, mode 777, setuid, admins, privileged containers, public
///   access to private folders, LD_PRELOAD and the like;
/// - runs or installs what nobody has looked at: a download piped into a shell, a package from elsewhere;
/// - cannot be undone for others: force pushes to shared branches, production without approval, a raw disk, all
///   processes, money above 999, mail with an attachment to strangers;
/// - reaches into the machine's own network (localhost, 10.*, 192.168.*, 169.254.169.254), or runs every minute.
/// Each kind of call has its rule in tool_calls.cpp, with plain calls and near misses of both verdicts (`rm -rf ./` a
/// folder against `rm -rf / ` a folder, id_rsa.pub against id_rsa). Labels: 1 and 0, an override (1.5, −0.5, weight 2)
/// one time in ten, and −1 with the false positive's weight for near misses to be blocked. About one call in thirty is
/// a matter of taste: people block it with a probability that is the kind's, as a false positive, and else allow it.
std::vector<GateLine> tool_calls(const ToolCallOptions& options);

/// The kinds of call and their rules.
struct ToolCallKind {
    std::string_view name, blocked_when;
};
std::vector<ToolCallKind> tool_call_kinds();

}  // namespace xtape::models
