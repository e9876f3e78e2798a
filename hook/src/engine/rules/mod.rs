//! The rules of the host's firewall: when they are loaded, who keeps them, and how they pass the firewalls of others.

mod firewall;
mod pass;
