//! The ttrpc interface `ocinet.network.v1` and its generated code, nothing else. Not yet written.
