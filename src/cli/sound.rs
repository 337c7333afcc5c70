//! Whether a home is sound: looked at before anything is signed, by `serve` and by every command that
//! writes to the log, and by `doctor` and `store check`. What is wrong is said with what to do next,
//! and nothing is changed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;

use super::serve::{log_key, sealer};
use crate::audit::checkpoint::{Checkpoint, CheckpointError, LogKey, LogVerifier};
use crate::audit::growth::{Kept, KeptError, NotGrown, verify_growth};
use crate::audit::tree::{Plan, Tree};
use crate::config::{Config, Home};
use crate::seal::Sealer;
use crate::store::sqlite::Sqlite;
use crate::store::{Store, StoreError};
use crate::worker::anchor::Anchor;

/// What is needed to write to the log of a home in which everything fits.
pub(super) struct Signing {
    pub(super) log_key: LogKey,
    /// The anchor, if there is to be one, and what it covers so far.
    pub(super) anchor: Option<(Anchor, Option<Checkpoint>)>,
}

/// Reads the log's key, if the log in the store is the one that was signed last with it.
pub(super) async fn signing(home: &Home, config: &Config) -> anyhow::Result<Signing> {
    let log_key = log_key(home, config)?;
    let anchored = Anchored::read(home, config)?;
    let store = open_store(&home.resolve(&config.store.sqlite))?;
    store.hold_still()?;
    let kept = check_log(&store, &log_key.verifier(), config, &anchored).await?;
    let anchor = anchored.anchor.map(|anchor| (anchor, kept));
    Ok(Signing { log_key, anchor })
}

/// Opens the at-rest keys, if they open what is sealed in this store.
pub(super) async fn open_keys(
    home: &Home,
    config: &Config,
    store: &dyn Store,
) -> anyhow::Result<Sealer> {
    let sealer = sealer(home, config)?;
    if let Some((enquiry, wrapped_key)) = store.newest_enquiry_key().await? {
        sealer.opens(&enquiry, &wrapped_key).map_err(|_| Unsound::AtRest)?;
    }
    Ok(sealer)
}

/// Everything that [`signing`] and [`open_keys`] look at, in a store that holds still.
pub(super) async fn check(
    home: &Home,
    config: &Config,
    store: &Sqlite,
    anchored: &Anchored,
) -> anyhow::Result<()> {
    check_log(store, &log_key(home, config)?.verifier(), config, anchored).await?;
    open_keys(home, config, store).await?;
    Ok(())
}

/// The anchor as it was read: always before the database, for a gateway that runs adds to both
/// meanwhile.
pub(super) struct Anchored {
    anchor: Option<Anchor>,
    note: Option<String>,
}

impl Anchored {
    /// As this home has it.
    pub(super) fn read(home: &Home, config: &Config) -> anyhow::Result<Self> {
        let anchor = Anchor::of(home, config);
        let note = match &anchor {
            None => None,
            Some(anchor) => anchor.read().with_context(|| {
                format!(
                    "the anchor {} cannot be read, without which the log cannot be seen to be the \
                     latest (is its disk mounted?)",
                    anchor.path().display()
                )
            })?,
        };
        Ok(Self { anchor, note })
    }

    /// What it says of this log, if anything.
    pub(super) fn kept(&self, log: &LogVerifier) -> Result<Option<Kept>, Unsound> {
        let (Some(anchor), Some(note)) = (&self.anchor, &self.note) else { return Ok(None) };
        match Kept::note(note.as_str().into(), log) {
            Ok(kept) => Ok(Some(kept)),
            Err(error) => Err(Unsound::Anchor(anchor.path().to_owned(), error)),
        }
    }
}

/// That the log of this store begins with what was kept of it; `today` is its latest checkpoint.
pub(super) async fn has_grown(
    store: &dyn Store,
    kept: &Checkpoint,
    today: &Checkpoint,
) -> Result<Result<(), NotGrown>, StoreError> {
    let plan = Plan::consistency(kept.size, today.size);
    // An entry that is not there any more is a proof that cannot be given.
    let hashes = match store.nodes(plan.wanted()).await {
        Err(StoreError::Corrupt(_) | StoreError::NotFound) => Vec::new(),
        read => read?,
    };
    Ok(verify_growth(kept, today, &plan.proof(&hashes)))
}

fn open_store(path: &Path) -> anyhow::Result<Sqlite> {
    if path.try_exists().is_ok_and(|is_there| !is_there) {
        return Err(Unsound::Missing(path.to_owned()).into());
    }
    Sqlite::open(path).with_context(|| format!("{} cannot be used", path.display()))
}

// The latest checkpoint, the hashes that are stored and the anchor have to agree. Returns what the
// anchor covers.
async fn check_log(
    store: &Sqlite,
    log: &LogVerifier,
    config: &Config,
    anchored: &Anchored,
) -> anyhow::Result<Option<Checkpoint>> {
    let today = match store.head().await? {
        None => Checkpoint { size: 0, root: Tree::empty().root() },
        Some(head) => {
            let said = Kept::note(Arc::clone(&head.note), log).map_err(|error| match error {
                KeptError::Origin => Unsound::Origin {
                    configured: config.log.origin.clone(),
                    signed: head.note.lines().next().unwrap_or_default().to_owned(),
                },
                KeptError::Checkpoint(CheckpointError::NotOurs) => {
                    Unsound::LogKey(config.paths.log_key.clone())
                }
                KeptError::Checkpoint(_) | KeptError::Receipt(_) => Unsound::Checkpoint(error),
            })?;
            let stored = Checkpoint { size: head.size, root: head.root };
            if said.checkpoint != stored {
                return Err(Unsound::Columns.into());
            }
            let peaks = match store.nodes(&Tree::peaks_wanted(stored.size)).await {
                Err(StoreError::Corrupt(_) | StoreError::NotFound) => Vec::new(),
                read => read?,
            };
            if Tree::from_peaks(stored.size, peaks).is_none_or(|tree| tree.root() != stored.root) {
                return Err(Unsound::Root.into());
            }
            stored
        }
    };
    if let Some(beyond) = store.entries(today.size, 1).await?.first() {
        return Err(Unsound::Unsigned(beyond.index).into());
    }
    let Some(Kept { checkpoint: kept, .. }) = anchored.kept(log)? else { return Ok(None) };
    match has_grown(store, &kept, &today).await? {
        Ok(()) => Ok(Some(kept)),
        Err(NotGrown::Shorter { kept, today }) => {
            Err(Unsound::Older { kept, today, lost: kept - today }.into())
        }
        Err(error @ (NotGrown::OtherRoot { .. } | NotGrown::Proof { .. })) => {
            Err(Unsound::OtherLog(error).into())
        }
    }
}

/// What is wrong with a home.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unsound {
    #[error("the anchor {} is refused: {}", .0.display(), .1)]
    Anchor(PathBuf, KeptError),
    #[error("the at-rest identity does not open the key of the newest enquiry")]
    AtRest,
    #[error("the latest checkpoint in the database is refused: {0}")]
    Checkpoint(KeptError),
    #[error("the latest checkpoint in the database is not what its signed note says")]
    Columns,
    #[error("the latest checkpoint in the database was not signed by {}", .0.display())]
    LogKey(PathBuf),
    #[error("the database {} is not there, and this home has had one", .0.display())]
    Missing(PathBuf),
    #[error(
        "an older database was put back: it has {today} entries of the log, and {kept} were signed; \
         {lost} are missing"
    )]
    Older { kept: u64, today: u64, lost: u64 },
    #[error("the log is {configured} by gateway.toml, and {signed} by the database")]
    Origin { configured: String, signed: String },
    #[error("the database has another log than was signed: {0}")]
    OtherLog(NotGrown),
    #[error("the log's stored hashes are not those of its latest checkpoint")]
    Root,
    #[error("entry {0} of the log is covered by no signed checkpoint")]
    Unsigned(u64),
}

impl Unsound {
    /// What to do next.
    pub(super) fn next(&self) -> &'static str {
        match self {
            Self::Anchor(..) => {
                "anchor under [log] in gateway.toml says where it is; only when it is known how it \
                 came to be so, take it away: the next start makes one"
            }
            Self::AtRest => {
                "bring at_rest_identities ([paths] in gateway.toml) from the backup of the keys: \
                 what is stored could not be opened"
            }
            Self::Checkpoint(_)
            | Self::Columns
            | Self::OtherLog(_)
            | Self::Root
            | Self::Unsigned(_) => {
                "keep the database as it is: it is evidence. log verify says where it differs; \
                 store restore puts the newest backup in its place"
            }
            Self::LogKey(_) => "bring the log's key from the backup of the keys",
            Self::Missing(_) => {
                "is its disk mounted? If it is lost, put the newest backup in its place: \
                 mash-gateway store restore"
            }
            Self::Older { .. } => {
                "put the newest database back: what is missing was acknowledged, and to sign in its \
                 place would be a second log that no receipt fits. mash-gateway store restore takes a \
                 backup only if it has everything"
            }
            Self::Origin { .. } => "put origin under [log] in gateway.toml back to the second name",
        }
    }
}
