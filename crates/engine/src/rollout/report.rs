//! What reports lead to. One that says nothing new costs a look-up and a bit; all that is new in a request goes into one
//! event.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use unisono_model::ids::Timestamp;
use unisono_model::limits::MAX_TARGETS;
use unisono_model::name::Name;
use unisono_model::rollout::{Amount, Drift, EntityName, Health, Joiners, Phase, Reported, Reports, RolloutState};

use super::event::{Change, Joined, RolloutEvent as E};
use super::fleet::Fleet;
use super::head::Head;
use super::health::{Assessment, Rules, Seen, assess, first_health, is_undecided, says_the_same};
use super::interner::NONE;
use super::rejection::RolloutRejection;
use super::state::Rollouts;
use super::tally::{Group, plan_of};
use super::target::{ARRIVED, CATCHING_UP, DRIFTED, Outcome, STORED, Target, is_unwell, said_code};
use super::targets::{Texts, join_traits, split_traits};
use super::waves::LEFT_OUT;

/// What a report did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReportReply {
    /// The entity's number.
    pub entity: u32,
    /// The slot of each target, in the order in which they were reported.
    pub slots: Vec<u32>,
    /// Targets seen for the first time.
    pub joined: u32,
    /// Targets of which something changed.
    pub changed: u32,
}

/// Texts of one event, each once.
#[derive(Default)]
struct Table<'a> {
    texts: Vec<&'a str>,
    places: FxHashMap<&'a str, u32>,
}

impl<'a> Table<'a> {
    fn place(&mut self, text: &'a str) -> u32 {
        let next = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        let place = *self.places.entry(text).or_insert(next);
        if place == next {
            self.texts.push(text);
        }
        place
    }
}

/// Decides about reports; makes the entity when there is none.
pub(crate) fn decide(
    rollouts: &Rollouts,
    namespace: Name,
    entity: EntityName,
    reports: &Reports,
    at: Timestamp,
    events: &mut Vec<E>,
) -> Result<ReportReply, RolloutRejection> {
    match rollouts.get(&namespace, &entity) {
        Some(fleet) => report(fleet, reports, at, events),
        None => {
            let number = rollouts.next_number();
            let mut head = Head::new(number, namespace.clone(), entity.clone());
            head.window_began = at.0;
            let fleet = Fleet::new(head);
            let made = events.len();
            events.push(E::Created {
                number,
                namespace,
                name: entity.as_str().to_owned(),
            });
            report(&fleet, reports, at, events).inspect_err(|_| events.truncate(made))
        }
    }
}

/// A target that is to be brought to its version outside of a rollout, as far as there is room once everything is known
/// that was reported with it.
struct Lead<'a> {
    target: &'a Target,
    change: Change,
    /// The version, when it was not told that before.
    to: Option<&'a str>,
    /// Whether it counts as unavailable already.
    is_away: bool,
}

/// By how much more, or fewer, targets are unavailable than before the report.
#[derive(Default)]
struct Away {
    all: i64,
    domains: FxHashMap<u32, i64>,
    /// Of those that joined, whose domains are known only afterwards: they may be of any.
    joined: i64,
}

impl Away {
    fn add(&mut self, domains: &[u32], by: i64) {
        self.all += by;
        for domain in domains {
            *self.domains.entry(*domain).or_default() += by;
        }
    }
}

struct Reporting<'a> {
    fleet: &'a Fleet,
    rules: Rules<'a>,
    /// The last known good version that stragglers get, when no rollout is under way: its text, and its number.
    catch_up: Option<(&'a str, u32)>,
    time: i64,
    table: Table<'a>,
    joined: Vec<Joined>,
    changes: Vec<Change>,
    leads: Vec<Lead<'a>>,
    away: Away,
    /// Combined traits that are not in the fleet yet have to live somewhere.
    traits: &'a [Cow<'a, str>],
    took: (i64, i64),
}

fn report(
    fleet: &Fleet,
    reports: &Reports,
    at: Timestamp,
    events: &mut Vec<E>,
) -> Result<ReportReply, RolloutRejection> {
    let (slots, news) = sift(fleet, reports, fleet.head.time(at));
    let mut reply = ReportReply {
        entity: fleet.head.number,
        slots,
        ..ReportReply::default()
    };
    if news.is_empty() {
        return Ok(reply);
    }
    if fleet.len() + news.len() > MAX_TARGETS {
        let unknown = news.iter().filter(|index| reply.slots[**index] == u32::MAX).count();
        if fleet.len() + unknown > MAX_TARGETS {
            return Err(RolloutRejection::TooManyTargets { limit: MAX_TARGETS });
        }
    }
    let chosen = last_words(fleet, reports, &mut reply.slots, &news);
    let traits: Vec<Cow<'_, str>> = chosen
        .iter()
        .map(|index| traits_of(fleet, reply.slots[*index], reports.get(*index)))
        .collect();
    let mut reporting = Reporting {
        fleet,
        rules: Rules::of(&fleet.head),
        catch_up: catch_up(&fleet.head, &fleet.texts),
        time: fleet.head.time(at),
        table: Table::default(),
        joined: Vec::new(),
        changes: Vec::new(),
        leads: Vec::new(),
        away: Away::default(),
        traits: &traits,
        took: (0, 0),
    };
    for (place, index) in chosen.iter().enumerate() {
        let (slot, report) = (reply.slots[*index], reports.get(*index));
        match fleet.targets.get(slot) {
            Some(target) => reporting.known((slot, target), report, place),
            None => reporting.unknown(slot, report, place),
        }
    }
    reporting.lead_all();
    let (joined, changes) = (reporting.joined, reporting.changes);
    reply.joined = u32::try_from(joined.len()).unwrap_or(u32::MAX);
    reply.changed = u32::try_from(changes.len()).unwrap_or(u32::MAX);
    if joined.is_empty() && changes.is_empty() {
        return Ok(reply);
    }
    events.push(E::Reported {
        entity: fleet.head.number,
        time: reporting.time,
        window: fleet.head.window,
        texts: reporting.table.texts.iter().map(|text| (*text).to_owned()).collect(),
        joined,
        changes,
        opens: !fleet.listens(),
        typical: typical(&fleet.head, reporting.took),
    });
    Ok(reply)
}

/// How long targets take to prove themselves, with those that just did.
pub(crate) fn typical(head: &Head, (total, count): (i64, i64)) -> Option<i64> {
    if count == 0 {
        return None;
    }
    let mean = total / count;
    Some(match head.facts.typical_ms {
        0 => mean.max(1),
        before => (before * 7 + mean) / 8,
    })
}

/// Reports that are looked up together, so that the memory that one needs is fetched while others are looked at.
const TOGETHER: usize = 32;

/// The slots of all targets (`u32::MAX` for new ones), and which reports say something new. The others are heard.
fn sift(fleet: &Fleet, reports: &Reports, time: i64) -> (Vec<u32>, Vec<usize>) {
    let healing = fleet.head.policy.drift == Drift::Heal;
    let straggling = catch_up(&fleet.head, &fleet.texts);
    let rules = Rules::of(&fleet.head);
    let policy = &rules.policy.health;
    let open = rules.forward || rules.back;
    let (mut slots, mut news) = (Vec::with_capacity(reports.len()), Vec::new());
    let mut last_group: (&str, Option<u32>) = ("", Some(NONE));
    // Whoever reports many targets does so in the same order each time.
    let mut guess = 0;
    let mut found = [None; TOGETHER];
    let mut index = 0;
    while index < reports.len() {
        let end = (index + TOGETHER).min(reports.len());
        for (place, at) in found.iter_mut().zip(index..end) {
            let report = reports.get(at);
            if report.group != last_group.0 {
                last_group = (report.group, fleet.texts.groups.find(report.group));
            }
            *place = last_group
                .1
                .and_then(|group| fleet.targets.find_near(guess, group, report.name));
            guess = place.unwrap_or(guess).saturating_add(1);
        }
        for (place, at) in found.iter().zip(index..end) {
            let target = place.and_then(|slot| Some((slot, fleet.targets.get(slot)?)));
            let Some((slot, target)) = target else {
                slots.push(u32::MAX);
                news.push(at);
                continue;
            };
            slots.push(slot);
            let settled = !is_undecided(target, policy, time)
                && !(target.is_moving() && !(open && target.rollout == rules.rollout))
                && !(healing && target.has(DRIFTED) && !target.has(CATCHING_UP))
                && !straggling.is_some_and(|(_, good)| target.rollout != rules.rollout && target.expected != good);
            if settled && says_nothing_new(&fleet.texts, target, &reports.get(at)) {
                fleet.listening.hear(slot);
            } else {
                news.push(at);
            }
        }
        index = end;
    }
    (slots, news)
}

fn says_nothing_new(texts: &Texts, target: &Target, report: &Reported<'_>) -> bool {
    let same_version = report
        .version
        .is_none_or(|version| texts.versions.get(target.version) == version);
    if !same_version || !says_the_same(target, report.said) || target.health == Health::Unknown {
        return false;
    }
    if texts.messages.get(target.message) != report.message {
        return false;
    }
    if report.labels.is_none() && report.time_zone.is_none() {
        return true;
    }
    let (labels, zone) = split_traits(texts.traits.get(target.traits));
    report.labels.is_none_or(|it| it == labels) && report.time_zone.is_none_or(|it| it == zone)
}

/// The reports that count, one for each target that has any news: a target may be named twice in one request, and then
/// what was said last counts. New targets get their slots.
fn last_words<'a>(fleet: &Fleet, reports: &'a Reports, slots: &mut [u32], news: &[usize]) -> Vec<usize> {
    let unknown = news.iter().filter(|index| slots[**index] == u32::MAX).count();
    let mut free = fleet.targets.next_slots(unknown);
    let mut given: FxHashMap<(&'a str, &'a str), u32> = FxHashMap::default();
    let mut is_news = vec![false; slots.len()];
    for index in news {
        is_news[*index] = true;
        if slots[*index] == u32::MAX {
            let report = reports.get(*index);
            let slot = given.entry((report.group, report.name));
            slots[*index] = *slot.or_insert_with(|| free.next().unwrap_or(u32::MAX));
        }
    }
    let mut named: Vec<(u32, usize)> = slots.iter().copied().zip(0..).collect();
    named.sort_unstable();
    let with_news = |same: &&[(u32, usize)]| same.iter().any(|(_, index)| is_news[*index]);
    let by_target = named.chunk_by(|a, b| a.0 == b.0).filter(with_news);
    let mut chosen: Vec<usize> = by_target.flat_map(|same| same.last()).map(|it| it.1).collect();
    chosen.sort_unstable();
    chosen
}

/// The traits that a target has after a report.
fn traits_of<'a>(fleet: &'a Fleet, slot: u32, report: Reported<'_>) -> Cow<'a, str> {
    let known = fleet
        .targets
        .get(slot)
        .map_or("", |target| fleet.texts.traits.get(target.traits));
    let (labels, zone) = split_traits(known);
    let new = (report.labels.unwrap_or(labels), report.time_zone.unwrap_or(zone));
    if new == (labels, zone) {
        return known.into();
    }
    join_traits(new.0, new.1).into()
}

/// The version that targets get which the last rollout did not reach, once it has succeeded.
fn catch_up<'a>(head: &'a Head, texts: &Texts) -> Option<(&'a str, u32)> {
    let last = head.facts.rollout.as_deref()?;
    let succeeded = !last.is_open() && last.state() == RolloutState::Succeeded;
    let good = head.facts.good.as_deref().filter(|_| succeeded)?;
    Some((good, texts.versions.find(good).unwrap_or(NONE)))
}

impl<'a> Reporting<'a> {
    /// A target that is seen for the first time.
    fn unknown(&mut self, slot: u32, report: Reported<'a>, place: usize) {
        let head = &self.fleet.head;
        let open = head.open();
        let joiners = head.policy.joiners;
        let expected = match (open, joiners) {
            (Some(_), Joiners::Join | Joiners::Leave) | (None, Joiners::Leave) => None,
            (Some(_), Joiners::LastKnownGood) => head.facts.good.as_deref(),
            (None, Joiners::Join | Joiners::LastKnownGood) => head.facts.good.as_deref(),
        };
        let health = first_health(report.said);
        let joined = Joined {
            slot,
            name: report.name.to_owned(),
            group: self.table.place(report.group),
            traits: self.table.place(&self.traits[place]),
            version: report.version.map(|version| self.table.place(version)),
            said: said_code(report.said),
            health: health.code(),
            message: (!report.message.is_empty()).then(|| self.table.place(report.message)),
            born: open.map_or(0, |open| open.id),
            expected: expected.map(|version| self.table.place(version)),
            due: None,
        };
        let told = expected.is_some_and(|expected| report.version != Some(expected));
        let away = i64::from(told || is_unwell(health));
        self.away.all += away;
        self.away.joined += away;
        self.joined.push(joined);
    }

    /// A target that is known, and says something new.
    fn known(&mut self, (slot, target): (u32, &'a Target), report: Reported<'a>, place: usize) {
        let texts = &self.fleet.texts;
        let running = texts.versions.get(target.version);
        let version = report.version.unwrap_or(running);
        let changed = version != running;
        let expected = texts.versions.get(target.expected);
        let seen = Seen {
            said: report.said,
            heard: true,
            there: !expected.is_empty() && expected == version,
            was_there: target.is_where_expected(),
            since: if changed || !says_the_same(target, report.said) || target.health == Health::Unknown {
                self.time
            } else {
                target.since
            },
            time: self.time,
        };
        let now = assess(&self.rules, target, seen);
        let mut change = self.difference(target, &now);
        change.slot = slot;
        change.version = changed.then(|| self.table.place(version));
        if target.health == Health::Unknown && change.version.is_none() {
            // It was silent: what it says now begins now.
            change.version = Some(self.table.place(version));
        }
        if texts.messages.get(target.message) != report.message {
            change.message = Some(self.table.place(report.message));
        }
        if texts.traits.get(target.traits) != self.traits[place] {
            change.traits = Some(self.table.place(&self.traits[place]));
        }
        if now.outcome == Outcome::Done {
            self.took.0 += self.time.saturating_sub(target.told_at);
            self.took.1 += 1;
        }
        self.follow_drift(target, version, &mut change);
        let is_away = self.is_away(target, version, &now, &change);
        let more = i64::from(is_away) - i64::from(target.is_unavailable());
        self.away.add(self.fleet.tally.domains_of(target), more);
        match self.leads_to(target, version, &now, &mut change) {
            Some(to) => self.leads.push(Lead {
                target,
                change,
                to,
                is_away,
            }),
            None => self.take(change),
        }
    }

    /// A change is part of the event, unless there is none.
    fn take(&mut self, change: Change) {
        let slot = change.slot;
        let nothing = Change {
            slot,
            ..Change::default()
        };
        if change == nothing {
            self.fleet.listening.hear(slot);
        } else {
            self.changes.push(change);
        }
    }

    /// Where drift is ignored, a target that leaves its version is told the one that it has chosen.
    fn follow_drift(&mut self, target: &Target, version: &'a str, change: &mut Change) {
        let ignores = self.rules.policy.drift == Drift::Ignore;
        let left = target.has(ARRIVED) && target.is_where_expected() && change.version.is_some();
        if ignores && left && !target.is_moving() && target.phase != Phase::Pinned && !version.is_empty() {
            change.expected = Some(self.table.place(version));
        }
    }

    /// Whether a target counts as unavailable after a report.
    fn is_away(&self, target: &Target, version: &str, now: &Assessment, change: &Change) -> bool {
        let moving = target.is_moving() && matches!(now.outcome, Outcome::Wait | Outcome::Proven);
        let left_alone = now.marks & DRIFTED != 0 && now.marks & CATCHING_UP == 0;
        let expected = self.fleet.texts.versions.get(target.expected);
        let told = !left_alone && change.expected.is_none() && !expected.is_empty() && expected != version;
        moving || told || is_unwell(now.health)
    }

    /// What of an assessment is new.
    fn difference(&self, target: &Target, now: &Assessment) -> Change {
        let said = said_code(now.said);
        let counted = is_counted(target, now);
        let judged = now.outcome != Outcome::Wait;
        Change {
            said: (said != target.said).then_some(said),
            streak: (now.streak != target.streak && (counted || said != target.said)).then_some(now.streak),
            health: (now.health != target.health).then_some(now.health.code()),
            outcome: judged.then_some(now.outcome as u8),
            cause: (now.cause != 0).then_some(now.cause),
            due: (now.due != target.due).then_some(now.due),
            marks: (now.marks != target.marks & STORED).then_some(now.marks),
            rollout: judged.then_some(self.rules.rollout),
            ..Change::default()
        }
    }

    /// Whether a target has to be brought to its version outside of a rollout: because it drifted and is healed, or because
    /// the last rollout did not reach it; then to which version. One that runs it already is only told so.
    fn leads_to(
        &mut self,
        target: &Target,
        version: &str,
        now: &Assessment,
        change: &mut Change,
    ) -> Option<Option<&'a str>> {
        let marks = now.marks;
        let drifted = marks & DRIFTED != 0 && self.fleet.head.policy.drift == Drift::Heal && marks & CATCHING_UP == 0;
        if drifted {
            return Some(None);
        }
        let (good, id) = self.catch_up?;
        let left_behind = target.rollout != self.rules.rollout
            && target.phase != Phase::Pinned
            && !target.is_moving()
            && self.joins_late(target)
            && self.fleet.tally.home_of(target) != Some(LEFT_OUT)
            && (id == NONE || target.expected != id);
        if !left_behind || matches!(now.health, Health::Offline | Health::Busy) {
            return None;
        }
        if version == good {
            change.expected = Some(self.table.place(good));
            change.marks = Some(ARRIVED);
            return None;
        }
        Some(Some(good))
    }

    /// Targets are told their version, as far as budgets allow.
    fn lead_all(&mut self) {
        for lead in std::mem::take(&mut self.leads) {
            let domains = self.fleet.tally.domains_of(lead.target);
            let mut change = lead.change;
            if lead.is_away || self.has_room(domains) {
                self.away.add(domains, i64::from(!lead.is_away));
                match lead.to {
                    Some(to) => {
                        change.expected = Some(self.table.place(to));
                        change.marks = Some(CATCHING_UP);
                    }
                    None => {
                        change.marks = Some(change.marks.unwrap_or(lead.target.marks & STORED) | CATCHING_UP);
                        change.due = None;
                    }
                }
            }
            self.take(change);
        }
    }

    /// Whether a target that was not part of the last rollout gets its version afterwards.
    fn joins_late(&self, target: &Target) -> bool {
        let born_in_it = target.born == self.rules.rollout;
        !(born_in_it && self.fleet.head.policy.joiners == Joiners::Leave)
    }

    /// Whether one more target of these domains may become unavailable.
    fn has_room(&self, domains: &[u32]) -> bool {
        let (policy, tally) = (plan_of(&self.fleet.head).0, &self.fleet.tally);
        let fits = |most: Option<Amount>, group: &Group, more: i64| {
            most.is_none_or(|most| {
                let most = i64::try_from(most.at_least_one(u64::from(group.targets))).unwrap_or(i64::MAX);
                i64::from(group.unavailable) + more < most
            })
        };
        fits(policy.max_unavailable, &tally.all, self.away.all)
            && domains.iter().all(|id| {
                let domain = &tally.domains[*id as usize];
                let budget = &policy.budgets[usize::from(domain.budget)];
                let more = self.away.domains.get(id).copied().unwrap_or(0);
                fits(budget.max_unavailable, &domain.group, more + self.away.joined)
            })
    }
}

/// Whether it matters how often a target has said what it says.
fn is_counted(target: &Target, now: &Assessment) -> bool {
    let undecided = matches!(
        (now.said, now.health),
        (unisono_model::rollout::Said::Unhealthy, health) if health != Health::Unhealthy
    ) || (now.said == unisono_model::rollout::Said::Healthy && now.health == Health::Unhealthy);
    undecided || target.is_moving() || now.health != target.health
}
