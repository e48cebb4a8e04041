//! The journal's part of a verification.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use unisono_engine::codec::{Recorded, read_batch};
use unisono_journal::inspect::{Finding, FrameContent, FrameInfo, SegmentInfo, inspect, other_files};
use unisono_journal::{Corruption, Damage, JournalError};
use unisono_model::ids::{Revision, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use super::{Problem, RESTORE, Verified};

/// What the store is compared with.
#[derive(Default)]
pub(super) struct Events {
    /// Where each batch begins, and the revision of its first event; and the end, with the revision that would be next.
    pub(super) batches: Vec<(u64, Revision)>,
    /// The first event, and what each from there on hashes to; `None` for those that cannot be read.
    pub(super) first: Revision,
    pub(super) hashes: Vec<Option<u64>>,
}

impl Events {
    /// What the event of this revision hashes to, if the journal has it.
    pub(super) fn hash(&self, revision: Revision) -> Option<u64> {
        let index = revision.0.checked_sub(self.first.0)?;
        *self.hashes.get(usize::try_from(index).ok()?)?
    }

    /// The last event there is.
    pub(super) fn last(&self) -> Revision {
        Revision((self.first.0 + self.hashes.len() as u64).saturating_sub(1))
    }
}

/// What an event hashes to: its time and itself, as they stand in a batch and in a history.
pub(super) fn hash(event: &[u8]) -> u64 {
    xxh3_64(event)
}

/// Reads all of the journal in `directory`.
pub(super) fn read(directory: &Path, verified: &mut Verified) -> Result<Events, JournalError> {
    let mut reader = Reader {
        verified,
        events: Events::default(),
        next: None,
        now: Timestamp::default(),
        gap: None,
        segment: PathBuf::new(),
        sealed: true,
        unsealed: None,
    };
    inspect(directory, |finding| {
        reader.take(finding);
        ControlFlow::Continue(())
    })?;
    let events = reader.events;
    others(directory, verified)?;
    Ok(events)
}

/// The files that are no segments.
fn others(directory: &Path, verified: &mut Verified) -> Result<(), JournalError> {
    let others = other_files(directory)?;
    verified.journal.spare_bytes = others.spares.iter().map(|(_, bytes)| bytes).sum();
    verified.journal.durable = others.durable.map(|position| position.get());
    if let Some(path) = others.damaged_mark {
        verified.problem(Problem {
            file: Some(path),
            offset: Some(0),
            ..Problem::new(
                "the mark of how far the journal has reached cannot be read",
                "nothing is lost; damage to the very last batch would be taken for an unfinished write",
                "check the disk; the next start writes the mark anew",
            )
        });
    } else if others.durable.is_none() && verified.journal.batches > 0 {
        let note = "there is no mark of how far the journal has reached; the next start makes one";
        verified.notes.push(note.to_owned());
    }
    Ok(())
}

struct Reader<'a> {
    verified: &'a mut Verified,
    events: Events,
    /// The revision of the next event; unknown before the first one.
    next: Option<Revision>,
    /// The time of the last event.
    now: Timestamp,
    /// The problem because of which events cannot be read, until it is known how many.
    gap: Option<usize>,
    /// The segment that is being read, and whether its seal has been met.
    segment: PathBuf,
    sealed: bool,
    /// The segment before, when it has no seal: a crash can leave one so, while it is the last but one.
    unsealed: Option<PathBuf>,
}

impl Reader<'_> {
    fn take(&mut self, finding: Finding<'_>) {
        match finding {
            Finding::Segment(segment) => self.segment(segment),
            Finding::Frame(frame) => match frame.content {
                FrameContent::Batch(batch) => self.batch(&frame, batch),
                FrameContent::Seal => self.sealed = true,
                FrameContent::Takeover => {}
            },
            Finding::Damage(corruption) => self.damage(corruption),
            Finding::Unfinished(cut) => self.verified.notes.push(format!(
                "a write was begun at byte {} of {} and not finished; it was never acknowledged, and the next start cuts it",
                cut.offset,
                cut.segment.display()
            )),
            Finding::End(position) => {
                self.verified.journal.end = position.get();
                let next = self.next.unwrap_or(Revision(1));
                self.events.batches.push((position.get(), next));
            }
        }
    }

    fn segment(&mut self, segment: SegmentInfo) {
        self.verified.journal.segments += 1;
        self.verified.journal.bytes += segment.bytes;
        if let Some(path) = self.unsealed.take() {
            self.verified.problem(Problem {
                file: Some(path),
                ..Problem::new(
                    "the segment does not end with a seal",
                    "nothing is lost, but the end of it has changed since it was written",
                    RESTORE,
                )
            });
        }
        if !self.sealed {
            self.unsealed = Some(self.segment.clone());
        }
        self.segment = segment.path;
        self.sealed = false;
    }

    fn damage(&mut self, corruption: Corruption) {
        let (meaning, remedy) = explained(&corruption.damage);
        self.gap = self.verified.problem(Problem {
            file: Some(corruption.segment),
            offset: Some(corruption.offset),
            position: Some(corruption.position.get()),
            ..Problem::new(corruption.damage.to_string(), meaning, remedy)
        });
        // What is missing is told already.
        self.sealed = true;
    }

    fn batch(&mut self, frame: &FrameInfo<'_>, bytes: &[u8]) {
        match read_batch(bytes) {
            Ok(events) => self.events(frame, bytes, &events),
            Err(error) => {
                self.gap = self.verified.problem(self.at(
                    frame,
                    Problem::new(
                        error.to_string(),
                        "the batch is as it was written, and this program cannot read its events",
                        "use the version of the program that wrote it, or a newer one",
                    ),
                ));
            }
        }
    }

    fn at(&self, frame: &FrameInfo<'_>, problem: Problem) -> Problem {
        Problem {
            file: Some(self.segment.clone()),
            offset: Some(frame.offset),
            position: Some(frame.position.get()),
            ..problem
        }
    }

    fn events(&mut self, frame: &FrameInfo<'_>, bytes: &[u8], events: &[Recorded]) {
        let (Some(first), Some(last)) = (events.first(), events.last()) else {
            return;
        };
        self.follow(first.revision, frame);
        self.events.batches.push((frame.position.get(), first.revision));
        for event in events {
            self.events.hashes.push(Some(hash(&bytes[event.range.clone()])));
        }
        let earlier = events
            .iter()
            .find(|event| event.at < std::mem::replace(&mut self.now, event.at));
        if let Some(event) = earlier {
            let problem = Problem::new(
                format!("revision {} was decided before the one before it", event.revision),
                "time has gone back, which it never does",
                "keep the directory as it is and report it",
            );
            self.verified.problem(self.at(frame, problem));
        }
        self.next = Some(last.revision.next());
        let journal = &mut self.verified.journal;
        journal.batches += 1;
        journal.events += events.len() as u64;
        journal.first.get_or_insert(first.revision);
        journal.last = Some(last.revision);
    }

    /// A batch begins with the next revision, unless a part before it cannot be read.
    fn follow(&mut self, first: Revision, frame: &FrameInfo<'_>) {
        let gap = self.gap.take();
        let Some(due) = self.next else {
            self.events.first = first;
            return;
        };
        if first > due
            && let Some(gap) = gap
        {
            let lost = match first.0 - 1 {
                last if last == due.0 => format!("; event {due} is lost"),
                last => format!("; the events {due} to {last} are lost"),
            };
            self.verified.problems[gap].meaning.push_str(&lost);
        } else if first != due {
            let problem = Problem::new(
                format!("the batch begins with revision {first} where {due} is due"),
                "batches are missing, or come from another journal",
                RESTORE,
            );
            self.verified.problem(self.at(frame, problem));
        }
        let known = first.0.saturating_sub(self.events.first.0);
        self.events
            .hashes
            .resize(usize::try_from(known).unwrap_or_default(), None);
    }
}

/// What damage means, and what to do about it.
fn explained(damage: &Damage) -> (&'static str, &'static str) {
    match damage {
        Damage::Frame { .. } => ("a part of the journal that was durable has changed", RESTORE),
        Damage::Lost { .. } => (
            "the last batches had been acknowledged, and are lost or damaged",
            RESTORE,
        ),
        Damage::FlippedBit { .. } => (
            "the last batch was written whole and has changed since; whether it had been acknowledged is not known",
            RESTORE,
        ),
        Damage::NoSegments { .. } => ("the whole journal is gone", RESTORE),
        Damage::Header => ("the segment cannot be used, though its batches may be intact", RESTORE),
        Damage::Renamed { .. } | Damage::Foreign | Damage::Overlap { .. } => (
            "files were renamed, or come from another journal or an older copy",
            "put the files back as they were, or restore a backup with `unisono restore`",
        ),
        Damage::Truncated { .. } => ("the end of the segment is gone", RESTORE),
        Damage::MissingSegment { .. } => ("all of its batches are gone", RESTORE),
        Damage::Version { .. } => (
            "a newer version of the program wrote it",
            "use that version, or a newer one",
        ),
    }
}
