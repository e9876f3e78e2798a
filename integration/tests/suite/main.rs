//! The stories that `ocinet` has to stand, each on a private host. One binary, so that they all run side by side.

mod bad_bundle;
mod bad_names;
mod bad_options;
mod bad_state;
mod binary;
mod commands;
mod conflicts;
mod doctor;
mod file_mounts;
mod files;
mod fixtures;
mod help;
mod hostile_image;
mod isolation;
mod killed;
mod lifecycle;
mod lost_store;
mod modes;
mod name_servers;
mod networks;
mod plan;
mod races;
mod readme;
mod repair;
mod replacement;
mod traffic;
