//! Fixtures for the tests: private hosts.
