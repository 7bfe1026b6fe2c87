//! A program of its own that mounts a plugin and runs a host.
