//! The rules of the host's firewall: when they are loaded, which firewall keeps them, and the passes through other firewalls.

mod firewall;
mod pass;
