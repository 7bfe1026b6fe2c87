//! A worker of root stays user 0, and may nothing that only root may.
//!
//! Of what one's own user may do anyway, this takes nothing away: files of user 0 stay its own, which is Landlock's business.

use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities,
    },
};

/// Drops every capability, also of programs it might start.
///
/// - Errors: the kernel refused; a process may always have less.
pub(crate) fn drop_all() -> Result<(), String> {
    for bit in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            Ok(()) => {}
            // The kernel has no more of them, or this process has none to give up.
            Err(Errno::INVAL | Errno::PERM) => break,
            Err(error) => return Err(refused(error)),
        }
    }
    match clear_ambient_capability_set() {
        // A kernel older than 4.3 has no such set.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(error) => return Err(refused(error)),
    }
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    set_capabilities(None, sets).map_err(refused)
}

/// Drops the one with which limits could be raised again.
///
/// - Errors: the kernel refused.
pub(crate) fn drop_resource() -> Result<(), String> {
    match remove_capability_from_bounding_set(CapabilitySet::SYS_RESOURCE) {
        // Who may not change the bounding set is not root and has nothing to lose.
        Ok(()) | Err(Errno::PERM) => {}
        Err(error) => return Err(refused(error)),
    }
    let mut sets = capabilities(None).map_err(refused)?;
    for set in [
        &mut sets.effective,
        &mut sets.permitted,
        &mut sets.inheritable,
    ] {
        set.remove(CapabilitySet::SYS_RESOURCE);
    }
    set_capabilities(None, sets).map_err(refused)
}

fn refused(error: Errno) -> String {
    format!("capabilities could not be dropped: {error}")
}
