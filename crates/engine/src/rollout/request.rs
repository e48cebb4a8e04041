//! Requests that can be repeated: what was answered to a request that brought a key of its own is remembered, so that the
//! same request, sent again, is answered and not done again.

use std::collections::VecDeque;

use minicbor::decode::Error;
use minicbor::encode::{Error as WriteError, Write};
use minicbor::{Decode, Decoder, Encode, Encoder};
use unisono_model::ids::Revision;
use unisono_model::rollout::{Done, VerbName};

use super::event::Decision;

/// Answers that are kept for each entity, the latest ones.
const KEPT: usize = 128;

/// What makes a request the same as another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestKey {
    /// The caller's key.
    pub key: String,
    /// A digest of everything that is asked.
    pub digest: u64,
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Request {
    #[n(0)]
    key: String,
    #[n(1)]
    digest: u64,
    #[n(2)]
    verb: u8,
    #[n(3)]
    message: String,
    #[n(4)]
    changed: bool,
    #[n(5)]
    rollout: Option<u32>,
    #[n(6)]
    revision: u64,
}

/// The requests of an entity that are remembered, the oldest first. None of them takes no room in a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Requests(VecDeque<Request>);

/// How a request stands to those that were answered.
pub(crate) enum Known {
    /// It was answered like this.
    Answered(Done),
    /// The key was used for another one.
    Other,
}

impl Requests {
    pub(crate) fn find(&self, request: &RequestKey) -> Option<Known> {
        let known = self.0.iter().find(|it| it.key == request.key)?;
        let verb = VerbName::from_code(known.verb).filter(|_| known.digest == request.digest);
        Some(verb.map_or(Known::Other, |verb| {
            Known::Answered(Done {
                verb,
                message: known.message.clone(),
                changed: known.changed,
                rollout: known.rollout,
                revision: Revision(known.revision),
            })
        }))
    }

    /// An event says what was answered; it is the last one of its request.
    pub(crate) fn remember(&mut self, revision: Revision, decision: &Decision) {
        let Decision::Remembered {
            key,
            digest,
            verb,
            message,
            changed,
            rollout,
        } = decision
        else {
            return;
        };
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(Request {
            key: key.clone(),
            digest: *digest,
            verb: *verb,
            message: message.clone(),
            changed: *changed,
            rollout: *rollout,
            revision: revision.0,
        });
    }
}

impl<C> Encode<C> for Requests {
    fn encode<W: Write>(&self, e: &mut Encoder<W>, context: &mut C) -> Result<(), WriteError<W::Error>> {
        self.0.encode(e, context)
    }

    fn is_nil(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'b, C> Decode<'b, C> for Requests {
    fn decode(d: &mut Decoder<'b>, context: &mut C) -> Result<Self, Error> {
        VecDeque::decode(d, context).map(Self)
    }

    fn nil() -> Option<Self> {
        Some(Self::default())
    }
}
