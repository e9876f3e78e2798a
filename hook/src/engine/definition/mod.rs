//! What commands do with definitions of networks.

mod create;
mod remove;
