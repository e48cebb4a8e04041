//! What values, futures, leases and locks should do, told a second time: plain lists, and time that is counted by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use unisono_engine::lease::{Acquire, Grant, LeaseCommand, LeftBecause, LockAddress, Mode, TicketEnd};
use unisono_engine::value::{
    Await, AwaitId, Awaited, Condition, Data, Declare, Expect, Fence, Operation, Outcome, Put, Shown, ValueCommand,
    ValueCounts, Write,
};
use unisono_engine::{Command, Reply, State};
use unisono_model::ids::Revision;
use unisono_model::key::Key;
use unisono_model::leases::LockMode;
use unisono_model::name::Name;
use unisono_model::values::FutureState;

use super::ops::{Change, Expected, KEYS, LOCKS, Op, Wish, key, party};
use crate::documents::{name, payload, space};
use crate::ops::pick;

#[derive(Clone, Debug)]
struct Held {
    content: String,
    revision: u64,
    created: u64,
    version: u32,
    until: Option<u64>,
    lease: Option<u64>,
    sensitive: bool,
}

#[derive(Clone, Debug)]
struct Promise {
    producer: Name,
    epoch: u32,
    state: FutureState,
    until: Option<u64>,
    lease: Option<u64>,
}

#[derive(Clone, Debug)]
struct Lease {
    ttl: u64,
    until: u64,
    party: Option<Name>,
}

#[derive(Clone, Debug, PartialEq)]
struct Place {
    lease: u64,
    mode: Mode,
    number: u64,
    until: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Lock {
    holders: Vec<Place>,
    queue: Vec<Place>,
    stolen: usize,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    /// Milliseconds that have really passed.
    clock: u64,
    values: BTreeMap<Key, Held>,
    fences: BTreeMap<Key, u64>,
    promises: BTreeMap<Key, Promise>,
    leases: BTreeMap<u64, Lease>,
    every_lease: Vec<u64>,
    locks: BTreeMap<LockAddress, Lock>,
    /// Every token of a lock.
    tokens: BTreeMap<LockAddress, Vec<u64>>,
    pub(super) awaits: BTreeMap<AwaitId, (Key, Option<Name>)>,
    answers: BTreeMap<AwaitId, &'static str>,
    tickets: BTreeMap<u64, TicketEnd>,
}

/// What should come of an await at once.
pub(super) struct Begun {
    pub(super) now: Option<&'static str>,
    pub(super) cycle: bool,
}

pub(super) fn word(answer: &Awaited) -> &'static str {
    match answer {
        Awaited::Value(_) => "value",
        Awaited::Broken { .. } => "broken",
        Awaited::Expired { .. } => "expired",
    }
}

fn address(lock: u8, wish: Wish) -> LockAddress {
    let number = name(&format!("l{lock}"));
    match wish {
        Wish::Campaign => LockAddress::election(space(), number),
        _ => LockAddress::lock(space(), number),
    }
}

fn mode(wish: Wish) -> Mode {
    match wish {
        Wish::Exclusive | Wish::Campaign => Mode::Exclusive,
        Wish::Shared => Mode::Shared,
        Wish::Permit => Mode::Permit { of: 2 },
    }
}

fn content(number: u8) -> String {
    format!("\"c{}\"", number % 4)
}

fn json(text: &str) -> Data {
    Data::Json(Arc::from(text))
}

type Refused = &'static str;

impl Model {
    fn lease(&self, at: u16) -> Option<u64> {
        pick(&self.every_lease, at)
    }

    fn token(&self, lock: u8, newest: bool) -> Option<u64> {
        let tokens = self.tokens.get(&address(lock, Wish::Exclusive))?;
        let back = if newest { 1 } else { 2 };
        tokens.len().checked_sub(back).map(|at| tokens[at])
    }

    /// The command for an operation, and whether it is refused with a word like this.
    pub(super) fn expect(&self, op: &Op) -> Option<(Command, Result<(), Refused>)> {
        match op {
            Op::Change {
                conditions,
                changes,
                party: who,
            } => {
                let write = self.write(conditions, changes, *who);
                let expected = self.judge(conditions, changes, *who);
                Some((Command::Value(ValueCommand::Write(Box::new(write))), expected))
            }
            Op::Declare {
                key: at,
                producer,
                ttl,
                lease,
                new_epoch,
            } => self.declare(*at, *producer, (*ttl, *lease), *new_epoch),
            Op::Break { key: at } => {
                let command = ValueCommand::Break {
                    namespace: space(),
                    key: key(*at),
                    reason: "no".to_owned(),
                    actor: None,
                };
                let expected = match self.promises.get(&key(*at)).map(|it| it.state) {
                    None => Err("NotDeclared"),
                    Some(FutureState::Pending) => Ok(()),
                    Some(_) => Err("Settled"),
                };
                Some((Command::Value(command), expected))
            }
            Op::Withdraw { key: at } => {
                let known = self.promises.contains_key(&key(*at));
                let command = ValueCommand::Withdraw {
                    namespace: space(),
                    key: key(*at),
                    actor: None,
                };
                Some((Command::Value(command), if known { Ok(()) } else { Err("NotDeclared") }))
            }
            other => {
                let (command, expected) = self.expect_lease(other)?;
                Some((Command::Lease(command), expected))
            }
        }
    }

    fn write(&self, conditions: &[(u8, Expected)], changes: &[Change], who: Option<u8>) -> Write {
        let conditions = conditions.iter().map(|(at, is)| Condition {
            key: key(*at),
            is: self.expectation(*at, *is),
        });
        let operations = changes.iter().map(|change| {
            let fence = self.fence(change);
            match change.put {
                None => Operation::Delete {
                    key: key(change.key),
                    fence,
                },
                Some(number) => Operation::Put(Put {
                    key: key(change.key),
                    data: json(&content(number)),
                    content_type: None,
                    ttl_ms: change.ttl.map(u64::from),
                    lease: change.lease.and_then(|at| self.lease(at)).map(Revision),
                    fence,
                    sensitive: change.sensitive,
                }),
            }
        });
        Write {
            namespace: space(),
            conditions: conditions.collect(),
            operations: operations.collect(),
            writer: Some("w".to_owned()),
            party: who.map(party),
            checked: Vec::new(),
        }
    }

    fn fence(&self, change: &Change) -> Option<Fence> {
        let (lock, newest) = change.fence?;
        let token = self.token(lock, newest)?;
        let lock = change.named.then(|| address(lock, Wish::Exclusive).name);
        Some(Fence {
            token: Revision(token),
            lock,
        })
    }

    fn expectation(&self, at: u8, is: Expected) -> Expect {
        let held = self.values.get(&key(at));
        match is {
            Expected::Absent => Expect::Absent,
            Expected::Present => Expect::Present,
            Expected::Content(true) => Expect::Content(json(held.map_or("0", |held| &held.content))),
            Expected::Content(false) => Expect::Content(json("\"other\"")),
            Expected::Revision(true) => Expect::Revision(Revision(held.map_or(1, |held| held.revision))),
            Expected::Revision(false) => Expect::Revision(Revision(u64::MAX)),
        }
    }

    fn judge(&self, conditions: &[(u8, Expected)], changes: &[Change], who: Option<u8>) -> Result<(), Refused> {
        for (at, is) in conditions {
            let present = self.values.contains_key(&key(*at));
            let holds = match is {
                Expected::Absent => !present,
                Expected::Present | Expected::Content(true) | Expected::Revision(true) => present,
                Expected::Content(false) | Expected::Revision(false) => false,
            };
            if !holds {
                return Err("ConditionFailed");
            }
        }
        let keys: BTreeSet<u8> = changes.iter().map(|change| change.key).collect();
        if keys.len() < changes.len() {
            return Err("WrittenTwice");
        }
        changes.iter().try_for_each(|change| self.judge_change(change, who))
    }

    fn judge_change(&self, change: &Change, who: Option<u8>) -> Result<(), Refused> {
        let at = key(change.key);
        if let Some(Fence { token, lock }) = self.fence(change) {
            if self.fences.get(&at).is_some_and(|seen| token.0 < *seen) {
                return Err("StaleFence");
            }
            let address = address(change.fence.unwrap().0, Wish::Exclusive);
            let holds = self.locks.get(&address).into_iter().flat_map(|lock| &lock.holders);
            if lock.is_some() && !holds.into_iter().any(|hold| hold.number == token.0) {
                return Err("LockLost");
            }
        }
        if change.put.is_none() {
            return Ok(());
        }
        if let Some(lease) = change.lease.and_then(|at| self.lease(at))
            && !self.leases.contains_key(&lease)
        {
            return Err("NotFound");
        }
        match self.promises.get(&at) {
            Some(promise) if promise.state != FutureState::Pending => Err("Settled"),
            Some(promise) if who.map(party).as_ref() != Some(&promise.producer) => Err("NotTheProducer"),
            _ => Ok(()),
        }
    }

    fn declare(
        &self,
        at: u8,
        producer: u8,
        (ttl, lease): (Option<u16>, Option<u16>),
        new_epoch: bool,
    ) -> Option<(Command, Result<(), Refused>)> {
        let lease = lease.and_then(|at| self.lease(at));
        let command = Declare {
            namespace: space(),
            key: key(at),
            producer: party(producer),
            schema: None,
            ttl_ms: ttl.map(u64::from),
            lease: lease.map(Revision),
            run: None,
            new_epoch,
            actor: None,
        };
        let known = self.promises.get(&key(at));
        let pending = known.is_some_and(|it| it.state == FutureState::Pending);
        let own = known.is_some_and(|it| it.producer == party(producer));
        let expected = if lease.is_some_and(|lease| !self.leases.contains_key(&lease)) {
            Err("NotFound")
        } else if known.is_none() && self.values.contains_key(&key(at)) && !new_epoch {
            Err("HasValue")
        } else if pending && !own {
            Err("Declared")
        } else if known.is_some() && !pending && !new_epoch && !own {
            Err("Settled")
        } else if known.is_some() && !pending && !new_epoch {
            Ok(())
        } else if self.closes_by_producing(at, producer) {
            Err("Cycle")
        } else {
            Ok(())
        };
        Some((Command::Value(ValueCommand::Declare(Box::new(command))), expected))
    }

    // ---- who waits for whom

    /// Whether some party waits for ever: everybody goes on as far as they can. Who has nothing to wait for any more gives
    /// all that they have promised, and all that they hold.
    pub(super) fn is_deadlocked(&self) -> bool {
        let mut awaits: BTreeSet<(Name, Key)> = self
            .awaits
            .values()
            .filter_map(|(at, who)| Some((who.clone()?, at.clone())))
            .collect();
        let pending = |at: &Key| self.promises.get(at).filter(|it| it.state == FutureState::Pending);
        let mut locks = self.locks.clone();
        loop {
            let before = (
                awaits.len(),
                locks
                    .values()
                    .map(|it| it.holders.len() + it.queue.len())
                    .sum::<usize>(),
            );
            let waiting: BTreeSet<Name> = awaits
                .iter()
                .filter(|(_, at)| pending(at).is_some())
                .map(|(who, _)| who.clone())
                .chain(
                    locks
                        .values()
                        .flat_map(|it| &it.queue)
                        .filter_map(|it| self.party_of(it.lease)),
                )
                .collect();
            awaits.retain(|(_, at)| pending(at).is_some_and(|it| waiting.contains(&it.producer)));
            for lock in locks.values_mut() {
                lock.holders
                    .retain(|it| self.party_of(it.lease).is_some_and(|who| waiting.contains(&who)));
                serve(lock);
            }
            let after = (
                awaits.len(),
                locks
                    .values()
                    .map(|it| it.holders.len() + it.queue.len())
                    .sum::<usize>(),
            );
            if after == before {
                return !waiting.is_empty();
            }
        }
    }

    fn party_of(&self, lease: u64) -> Option<Name> {
        self.leases.get(&lease)?.party.clone()
    }

    /// Whether somebody waits for ever once this has changed.
    fn closes(&self, change: impl FnOnce(&mut Self)) -> bool {
        let mut changed = Self {
            leases: self.leases.clone(),
            locks: self.locks.clone(),
            promises: self.promises.clone(),
            awaits: self.awaits.clone(),
            ..Self::default()
        };
        change(&mut changed);
        changed.is_deadlocked()
    }

    fn closes_by_producing(&self, at: u8, producer: u8) -> bool {
        self.closes(|model| {
            let promise = Promise {
                producer: party(producer),
                epoch: 1,
                state: FutureState::Pending,
                until: None,
                lease: None,
            };
            model.promises.insert(key(at), promise);
        })
    }

    pub(super) fn begin_await(&mut self, it: &Await) -> Begun {
        let mut begun = Begun {
            now: None,
            cycle: false,
        };
        let promise = self.promises.get(&it.key);
        begun.now = match promise.map(|promise| promise.state) {
            _ if self.values.contains_key(&it.key) => Some("value"),
            Some(FutureState::Broken) => Some("broken"),
            Some(FutureState::Expired) => Some("expired"),
            _ => None,
        };
        if begun.now.is_some() {
            return begun;
        }
        let awaits = (it.key.clone(), it.party.clone());
        begun.cycle = self.closes(|model| drop(model.awaits.insert(it.id, awaits.clone())));
        if !begun.cycle {
            self.awaits.insert(it.id, awaits);
        }
        begun
    }

    fn answer(&mut self, at: &Key, word: &'static str) {
        let answered: Vec<AwaitId> = self
            .awaits
            .iter()
            .filter(|(_, (key, _))| key == at)
            .map(|(id, _)| *id)
            .collect();
        for id in answered {
            self.awaits.remove(&id);
            self.answers.insert(id, word);
        }
    }

    // ---- leases and locks

    fn expect_lease(&self, op: &Op) -> Option<(LeaseCommand, Result<(), Refused>)> {
        let lives = |lease: u64| {
            if self.leases.contains_key(&lease) {
                Ok(())
            } else {
                Err("NotFound")
            }
        };
        Some(match op {
            Op::Grant { ttl, party: who } => {
                let grant = Grant {
                    namespace: space(),
                    holder: name("holder"),
                    party: who.map(party),
                    actor: None,
                    ttl_ms: u64::from(*ttl),
                };
                (LeaseCommand::Grant(grant), Ok(()))
            }
            Op::Renew { pick } => {
                let lease = self.lease(*pick)?;
                let (namespace, id) = (space(), Revision(lease));
                (LeaseCommand::Renew { namespace, lease: id }, lives(lease))
            }
            Op::Revoke { pick } => {
                let lease = self.lease(*pick)?;
                let command = LeaseCommand::Revoke {
                    namespace: space(),
                    lease: Revision(lease),
                    actor: None,
                };
                (command, lives(lease))
            }
            Op::Acquire { lock, pick, wish, wait } => {
                let lease = self.lease(*pick)?;
                let command = Acquire {
                    lock: address(*lock, *wish),
                    lease: Revision(lease),
                    mode: mode(*wish),
                    wait_ms: wait.map(u64::from),
                    value: None,
                };
                let expected = lives(lease).and_then(|()| self.may_acquire(&command));
                (LeaseCommand::Acquire(command), expected)
            }
            Op::Release { lock, pick, election } => {
                let lease = self.lease(*pick)?;
                let lock = address(*lock, if *election { Wish::Campaign } else { Wish::Exclusive });
                let has = self.place(&lock, lease).is_some();
                let expected = lives(lease).and(if has { Ok(()) } else { Err("NotHeld") });
                let lease = Revision(lease);
                (LeaseCommand::Release { lock, lease }, expected)
            }
            Op::Steal { lock, one } => {
                let lock = address(*lock, Wish::Exclusive);
                let holders = self.locks.get(&lock).map_or(&[][..], |lock| &lock.holders);
                let token = holders.first().filter(|_| *one).map(|it| Revision(it.number));
                let expected = if holders.is_empty() {
                    Err("NothingToSteal")
                } else {
                    Ok(())
                };
                let command = LeaseCommand::Steal {
                    lock,
                    token,
                    actor: "admin".to_owned(),
                    reason: "stuck".to_owned(),
                };
                (command, expected)
            }
            Op::Proclaim { lock, pick } => {
                let lease = self.lease(*pick)?;
                let election = address(*lock, Wish::Campaign);
                let leads = self
                    .locks
                    .get(&election)
                    .is_some_and(|it| it.holders.iter().any(|it| it.lease == lease));
                let expected = lives(lease).and(if leads { Ok(()) } else { Err("NotHeld") });
                let command = LeaseCommand::Proclaim {
                    election,
                    lease: Revision(lease),
                    value: payload("1"),
                };
                (command, expected)
            }
            _ => return None,
        })
    }

    fn place(&self, lock: &LockAddress, lease: u64) -> Option<(bool, &Place)> {
        let lock = self.locks.get(lock)?;
        let of = |place: &&Place| place.lease == lease;
        let holds = lock.holders.iter().find(of).map(|place| (true, place));
        holds.or_else(|| lock.queue.iter().find(of).map(|place| (false, place)))
    }

    fn may_acquire(&self, command: &Acquire) -> Result<(), Refused> {
        let lock = self.locks.get(&command.lock).cloned().unwrap_or_default();
        match self.place(&command.lock, command.lease.0) {
            Some((_, place)) if place.mode != command.mode => return Err("HeldOtherwise"),
            Some((true, _)) => return Ok(()),
            Some((false, _)) if command.wait_ms.is_some() => return Ok(()),
            Some((false, _)) => return Err("Held"),
            None => {}
        }
        let used = lock.holders.iter().chain(&lock.queue).map(|it| it.mode).next();
        if used.is_some_and(|used| used.permits() != command.mode.permits()) {
            return Err("AnotherKind");
        }
        if lock.queue.is_empty() && fits(&lock.holders, command.mode) {
            return Ok(());
        }
        if command.wait_ms.is_none() {
            return Err("Held");
        }
        let place = Place {
            lease: command.lease.0,
            mode: command.mode,
            number: u64::MAX,
            until: None,
        };
        let queue = |model: &mut Self| model.locks.entry(command.lock.clone()).or_default().queue.push(place);
        if self.closes(queue) { Err("Cycle") } else { Ok(()) }
    }

    // ---- what was done

    /// The engine has done it; `before` is the last event before that.
    pub(super) fn done(&mut self, op: &Op, reply: &Reply, before: Revision) {
        match (op, reply) {
            (Op::Change { changes, .. }, Reply::Written(written)) => {
                for (change, outcome) in changes.iter().zip(&written.outcomes) {
                    self.change(change, outcome);
                }
            }
            (Op::Declare { .. }, Reply::Future(future)) => self.declared(op, future.revision, before),
            (Op::Break { key: at }, _) => self.settle(&key(*at), FutureState::Broken),
            (Op::Withdraw { key: at }, _) => {
                let promise = self.promises.remove(&key(*at)).unwrap();
                if promise.state == FutureState::Pending {
                    self.answer(&key(*at), "broken");
                }
            }
            (Op::Grant { ttl, party: who }, Reply::Lease(view)) => {
                let lease = Lease {
                    ttl: u64::from(*ttl),
                    until: self.clock + u64::from(*ttl),
                    party: who.map(party),
                };
                self.leases.insert(view.id.0, lease);
                self.every_lease.push(view.id.0);
            }
            (Op::Renew { pick }, _) => {
                let (id, clock) = (self.lease(*pick).unwrap(), self.clock);
                let lease = self.leases.get_mut(&id).unwrap();
                lease.until = clock + lease.ttl;
            }
            (Op::Revoke { pick }, _) => {
                let lease = self.lease(*pick).unwrap();
                self.end_lease(lease);
            }
            (Op::Acquire { lock, pick, wish, wait }, reply) => {
                let lease = self.lease(*pick).unwrap();
                let until = wait.map(|wait| self.clock + u64::from(wait));
                self.acquired(&address(*lock, *wish), lease, mode(*wish), until, reply);
            }
            (Op::Release { lock, pick, election }, _) => {
                let lease = self.lease(*pick).unwrap();
                let lock = address(*lock, if *election { Wish::Campaign } else { Wish::Exclusive });
                self.leave(&lock, &[lease], LeftBecause::Released);
            }
            (Op::Steal { lock, .. }, Reply::Stolen(stolen)) => {
                let lock = address(*lock, Wish::Exclusive);
                let leases: Vec<u64> = stolen.iter().map(|it| it.lease.0).collect();
                let kept = self.locks.get_mut(&lock).unwrap();
                kept.stolen = (kept.stolen + leases.len()).min(16);
                self.leave(&lock, &leases, LeftBecause::Released);
            }
            (Op::Proclaim { .. }, _) => {}
            (op, reply) => panic!("{op:?} was answered by {reply:?}"),
        }
    }

    fn change(&mut self, change: &Change, outcome: &Outcome) {
        let at = key(change.key);
        let token = self.fence(change).map(|fence| fence.token.0);
        match (change.put, outcome) {
            (
                Some(number),
                Outcome::Put {
                    revision,
                    created,
                    version,
                    ..
                },
            ) => {
                let old = self.values.get(&at);
                let held = Held {
                    content: content(number),
                    revision: revision.0,
                    created: old.map_or(revision.0, |old| old.created),
                    version: old.map_or(1, |old| old.version + 1),
                    until: change.ttl.map(|ttl| self.clock + u64::from(ttl)),
                    lease: change.lease.and_then(|at| self.lease(at)),
                    sensitive: change.sensitive.unwrap_or_else(|| old.is_some_and(|old| old.sensitive)),
                };
                assert_eq!((created.0, *version), (held.created, held.version));
                self.values.insert(at.clone(), held);
                self.settle(&at, FutureState::Kept);
            }
            (None, Outcome::Deleted { revision, .. }) => {
                assert_eq!(revision.is_some(), self.values.contains_key(&at));
                if revision.is_none() {
                    return;
                }
                self.value_gone(&at, FutureState::Broken);
            }
            other => panic!("{other:?}"),
        }
        if let Some(token) = token {
            let seen = self.fences.entry(at).or_default();
            *seen = token.max(*seen);
        }
    }

    fn value_gone(&mut self, at: &Key, becomes: FutureState) {
        self.values.remove(at);
        if let Some(promise) = self.promises.get_mut(at)
            && promise.state == FutureState::Kept
        {
            promise.state = becomes;
        }
    }

    /// A pending promise comes to its end.
    fn settle(&mut self, at: &Key, becomes: FutureState) {
        let word = match becomes {
            FutureState::Kept => "value",
            FutureState::Broken => "broken",
            _ => "expired",
        };
        let promise = self.promises.get_mut(at).filter(|it| it.state == FutureState::Pending);
        let had_promise = promise.is_some();
        if let Some(promise) = promise {
            promise.state = becomes;
        }
        if had_promise || becomes == FutureState::Kept {
            self.answer(at, word);
        }
    }

    fn declared(&mut self, op: &Op, revision: Revision, before: Revision) {
        let Op::Declare {
            key: at,
            producer,
            ttl,
            lease,
            ..
        } = op
        else {
            return;
        };
        if revision <= before {
            // It was settled, and stays so.
            return;
        }
        let at = key(*at);
        self.values.remove(&at);
        let known = self.promises.get(&at);
        let epoch = known.map_or(1, |known| match known.state {
            FutureState::Pending => known.epoch,
            _ => known.epoch + 1,
        });
        let promise = Promise {
            producer: party(*producer),
            epoch,
            state: FutureState::Pending,
            until: ttl.map(|ttl| self.clock + u64::from(ttl)),
            lease: lease.and_then(|at| self.lease(at)),
        };
        self.promises.insert(at, promise);
    }

    fn acquired(&mut self, lock: &LockAddress, lease: u64, mode: Mode, until: Option<u64>, reply: &Reply) {
        let known = self.place(lock, lease).map(|(holds, place)| (holds, place.number));
        match (known, reply) {
            (Some((true, number)), Reply::Granted { token }) => assert_eq!(token.0, number),
            (Some((false, number)), Reply::Queued { ticket }) => assert_eq!(ticket.0, number),
            (None, Reply::Granted { token }) => {
                let place = Place {
                    lease,
                    mode,
                    number: token.0,
                    until: None,
                };
                self.locks.entry(lock.clone()).or_default().holders.push(place);
                self.tokens.entry(lock.clone()).or_default().push(token.0);
            }
            (None, Reply::Queued { ticket }) => {
                let place = Place {
                    lease,
                    mode,
                    number: ticket.0,
                    until,
                };
                let found = self.locks.get_mut(lock).unwrap();
                assert!(
                    !(found.queue.is_empty() && fits(&found.holders, mode)),
                    "it waits for nothing"
                );
                found.queue.push(place);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Leases leave a lock; whoever is next is granted it. The tokens are looked up in [`Model::learn_tokens`].
    fn leave(&mut self, address: &LockAddress, leases: &[u64], because: LeftBecause) {
        let Some(lock) = self.locks.get_mut(address) else {
            return;
        };
        let gone = |place: &Place| leases.contains(&place.lease);
        for place in lock.queue.iter().filter(|place| gone(place)) {
            self.tickets.insert(place.number, TicketEnd::Left(because));
        }
        // Who was granted it and lost it within one moment had a token that nothing shows any more.
        for place in lock.holders.iter().filter(|place| gone(place) && place.number == 0) {
            self.tickets
                .insert(place.until.unwrap(), TicketEnd::Granted(Revision(0)));
        }
        lock.holders.retain(|place| !gone(place));
        lock.queue.retain(|place| !gone(place));
        serve(lock);
        if lock.holders.is_empty() && lock.queue.is_empty() && lock.stolen == 0 {
            self.locks.remove(address);
        }
    }

    /// The tokens of those who were granted a lock while others left it: the revisions of the grants.
    fn learn_tokens(&mut self, state: &State) {
        for (address, lock) in &mut self.locks {
            let Some(view) = state.leases().lock_view(address, state.marks()) else {
                continue;
            };
            for place in lock.holders.iter_mut().filter(|place| place.number == 0) {
                let holder = view.holders.iter().find(|it| it.lease.0 == place.lease);
                place.number = holder
                    .unwrap_or_else(|| panic!("{} holds {address:?}", place.lease))
                    .token
                    .0;
                let ticket = place.until.take().unwrap();
                self.tickets.insert(ticket, TicketEnd::Granted(Revision(place.number)));
                self.tokens.entry(address.clone()).or_default().push(place.number);
            }
        }
    }

    fn end_lease(&mut self, id: u64) {
        self.leases.remove(&id);
        let attached: Vec<Key> = self
            .values
            .iter()
            .filter(|(_, it)| it.lease == Some(id))
            .map(|(at, _)| at.clone())
            .collect();
        for at in attached {
            self.value_gone(&at, FutureState::Expired);
        }
        let promised: Vec<Key> = self
            .promises
            .iter()
            .filter(|(_, it)| it.lease == Some(id))
            .map(|(at, _)| at.clone())
            .collect();
        for at in promised {
            self.settle(&at, FutureState::Broken);
        }
        for address in self.locks.keys().cloned().collect::<Vec<_>>() {
            self.leave(&address, &[id], LeftBecause::LeaseEnded);
        }
    }

    /// Time passes: values and promises end, then leases and waits, in the order of their deadlines.
    pub(super) fn advance(&mut self, millis: u64) {
        self.clock += millis;
        let clock = self.clock;
        let over = |until: Option<u64>| until.is_some_and(|until| until <= clock);
        let values: Vec<Key> = self
            .values
            .iter()
            .filter(|(_, it)| over(it.until))
            .map(|(at, _)| at.clone())
            .collect();
        for at in values {
            self.value_gone(&at, FutureState::Expired);
        }
        let pending = |it: &Promise| it.state == FutureState::Pending && over(it.until);
        let promises: Vec<Key> = self
            .promises
            .iter()
            .filter(|(_, it)| pending(it))
            .map(|(at, _)| at.clone())
            .collect();
        for at in promises {
            self.settle(&at, FutureState::Expired);
        }
        loop {
            let waits = self
                .locks
                .iter()
                .flat_map(|(lock, it)| it.queue.iter().map(move |place| (lock, place)));
            let wait = waits
                .filter_map(|(lock, place)| Some((place.until?, place.number, lock.clone(), place.lease)))
                .min();
            let lease = self.leases.iter().map(|(id, lease)| (lease.until, *id)).min();
            match (wait, lease) {
                (Some((at, _, lock, lease)), other) if at <= clock && other.is_none_or(|(other, _)| at <= other) => {
                    self.leave(&lock, &[lease], LeftBecause::TimedOut);
                }
                (_, Some((at, id))) if at <= clock => self.end_lease(id),
                _ => break,
            }
        }
    }

    // ---- what must be seen

    pub(super) fn assert_shown(&mut self, state: &State) {
        assert!(!self.is_deadlocked(), "who closed this was not told: {self:#?}");
        self.learn_tokens(state);
        self.assert_shown_but_awaits(state);
        let awaiting = state.value_counts().awaiting;
        assert_eq!(awaiting, self.awaits.len() as u64);
        for number in 0..KEYS {
            let waiters = state.values().waiters(&space(), &key(number), usize::MAX);
            let expected = self.awaits.values().filter(|(at, _)| *at == key(number)).count();
            assert_eq!(waiters.len(), expected);
        }
    }

    pub(super) fn assert_shown_but_awaits(&self, state: &State) {
        let shown: Vec<Shown> = state
            .values()
            .range(&space(), "", None)
            .map(|it| it.shown(state.marks()))
            .collect();
        assert_eq!(shown.len(), self.values.len(), "{shown:?}");
        for (view, (at, held)) in shown.iter().filter_map(Shown::view).zip(&self.values) {
            assert_eq!(view.key, *at);
            assert_eq!(view.value.as_ref().unwrap().get(), held.content);
            let revisions = (view.revision.0, view.create_revision.0, view.version);
            assert_eq!(revisions, (held.revision, held.created, held.version));
            assert_eq!(view.lease.map(|lease| lease.0), held.lease);
            assert_eq!(view.sensitive, held.sensitive);
            assert_eq!(view.fence.map(|fence| fence.0), self.fences.get(at).copied());
            assert_eq!(view.expires_at.is_some(), held.until.is_some());
        }
        let bytes: usize = self.values.iter().map(|(at, it)| at.len() + it.content.len()).sum();
        let counts = ValueCounts {
            values: self.values.len() as u64,
            bytes: bytes as u64,
            expiring: self.values.values().filter(|it| it.until.is_some()).count() as u64,
            pending: self
                .promises
                .values()
                .filter(|it| it.state == FutureState::Pending)
                .count() as u64,
            ..state.value_counts()
        };
        assert_eq!(state.value_counts(), counts);
        for (view, (at, promise)) in state.future_views(&space(), "", None).zip(&self.promises) {
            assert_eq!((&view.key, &view.producer), (at, &promise.producer));
            assert_eq!((view.state, view.epoch), (promise.state, promise.epoch), "{at}");
        }
        assert_eq!(state.future_views(&space(), "", None).count(), self.promises.len());
        assert_eq!(state.lease_counts().leases, self.leases.len() as u64);
        for id in self.leases.keys() {
            let view = state.lease_view(Revision(*id)).unwrap();
            let values = self.values.values().filter(|it| it.lease == Some(*id)).count();
            assert_eq!(view.values, values as u64);
        }
        for number in 0..LOCKS {
            for wish in [Wish::Exclusive, Wish::Campaign] {
                self.assert_lock_shown(state, &address(number, wish));
            }
        }
    }

    fn assert_lock_shown(&self, state: &State, address: &LockAddress) {
        let view = state.leases().lock_view(address, state.marks());
        let Some(lock) = self.locks.get(address) else {
            assert!(view.is_none(), "{view:?}");
            return;
        };
        let view = view.unwrap();
        let mut holders: Vec<(u64, u64, LockMode)> = lock
            .holders
            .iter()
            .map(|it| (it.number, it.lease, it.mode.word()))
            .collect();
        holders.sort_unstable_by_key(|it| it.0);
        let shown: Vec<_> = view
            .holders
            .iter()
            .map(|it| (it.token.0, it.lease.0, it.mode))
            .collect();
        assert_eq!(shown, holders, "{address:?}");
        let queue: Vec<(u64, u64)> = lock.queue.iter().map(|it| (it.number, it.lease)).collect();
        let shown: Vec<_> = view.queue.iter().map(|it| (it.ticket.0, it.lease.0)).collect();
        assert_eq!(shown, queue, "{address:?}");
        assert_eq!(view.audit.len(), lock.stolen);
        let exclusive = lock.holders.iter().filter(|it| it.mode == Mode::Exclusive).count();
        assert!(exclusive == 0 || lock.holders.len() == 1, "{lock:?}");
    }

    pub(super) fn assert_answered(&self, answered: &BTreeMap<AwaitId, Awaited>, tickets: &BTreeMap<u64, TicketEnd>) {
        let words: BTreeMap<AwaitId, &'static str> = answered.iter().map(|(id, answer)| (*id, word(answer))).collect();
        assert_eq!(words, self.answers);
        let unknown = TicketEnd::Granted(Revision(0));
        let same = |(ticket, end): (&u64, &TicketEnd)| match self.tickets.get(ticket) {
            Some(expected) if *expected == unknown => matches!(end, TicketEnd::Granted(_)),
            expected => expected == Some(end),
        };
        assert!(
            tickets.len() == self.tickets.len() && tickets.iter().all(same),
            "{tickets:?}, expected {:?}",
            self.tickets
        );
    }
}

/// Whoever is next holds the lock. Their tokens are not known yet.
fn serve(lock: &mut Lock) {
    while let Some(first) = lock.queue.first()
        && fits(&lock.holders, first.mode)
    {
        let place = lock.queue.remove(0);
        lock.holders.push(Place {
            until: Some(place.number),
            number: 0,
            ..place
        });
    }
}

fn fits(holders: &[Place], mode: Mode) -> bool {
    match mode {
        Mode::Exclusive => holders.is_empty(),
        Mode::Shared => holders.iter().all(|it| it.mode == Mode::Shared),
        Mode::Permit { of } => holders.len() < of as usize,
    }
}
