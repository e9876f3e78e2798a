//! The stories that `ocinet` has to stand, each on a private host. One binary, so that they all run side by side.

mod bad_bundle;
mod bad_options;
mod bad_state;
mod binary;
mod commands;
mod conflicts;
mod fixtures;
mod isolation;
mod lifecycle;
mod modes;
mod races;
mod repair;
mod replacement;
mod traffic;
