//! Harnesses that the integration tests share.
