//! How much room there is on the disk, and what of it is kept.

/// Room on the disk. Some of it is kept: for what must be written though nothing new is accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Room {
    /// What is free.
    pub free_bytes: u64,
    /// What is kept; nothing when 0.
    pub free_bytes_min: u64,
}

impl Room {
    /// Whether nothing new is accepted.
    pub fn is_used_up(&self) -> bool {
        self.free_bytes < self.free_bytes_min
    }

    /// Whether somebody should see to it before that happens.
    pub fn is_little(&self) -> bool {
        self.free_bytes < self.free_bytes_min.saturating_mul(2)
    }
}

impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { free_bytes, free_bytes_min } = self;
        write!(
            f,
            "{} MiB are free on the database's disk; below {} MiB nothing new is accepted",
            free_bytes >> 20,
            free_bytes_min >> 20
        )
    }
}
