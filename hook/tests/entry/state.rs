use ocinet::input::State;
use ocinet::model::Key;

/// A state on stdin.
pub fn state(bytes: &[u8]) {
    let state = match State::parse(bytes) {
        Ok(state) => state,
        Err(error) => return super::one_line(&error),
    };
    let id = state.id.as_str();
    assert!((1..=255).contains(&id.len()) && !matches!(id, "." | ".."), "{id:?}");
    assert!(!id.contains(|c: char| c == '/' || c.is_control()), "{id:?}");
    assert!(state.bundle.starts_with('/') && !state.bundle.contains('\0'), "{:?}", state.bundle);
    match state.live_pid() {
        Ok(pid) => assert!(pid > 1 && i64::from(pid) == state.pid),
        Err(error) => super::one_line(&error),
    }
    let name = Key::new(&state.id, &state.bundle).hex();
    assert!(name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
}
