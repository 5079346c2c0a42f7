#pragma once
// All of the library: tensors, the tape, the ops, the checks, modules and optimizers.

#include <xtape/engine/check/compare.hpp>
#include <xtape/engine/check/departure.hpp>
#include <xtape/engine/check/gradcheck.hpp>
#include <xtape/engine/check/trajectory.hpp>
#include <xtape/engine/fuse.hpp>
#include <xtape/engine/ops.hpp>
#include <xtape/engine/precision.hpp>
#include <xtape/engine/remat.hpp>
#include <xtape/engine/tape.hpp>
#include <xtape/engine/threads.hpp>
#include <xtape/engine/xtensor.hpp>
#include <xtape/nn/layer_norm.hpp>
#include <xtape/nn/linear.hpp>
#include <xtape/nn/safetensors.hpp>
#include <xtape/optim/adam.hpp>
#include <xtape/optim/gradients.hpp>
#include <xtape/optim/schedule.hpp>
#include <xtape/optim/sgd.hpp>
