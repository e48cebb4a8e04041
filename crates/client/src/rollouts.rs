//! Entities, their targets and their rollouts.
//!
//! ```no_run
//! use unisono_client::{Client, ClientOptions};
//! use unisono_model::rollout::{ClassicOptions, ClassicTarget, Version};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(ClientOptions::new("http://127.0.0.1:7717", "production"))?;
//! let options = ClassicOptions {
//!     batch_percent: 10, success_percent: 100, success_timeout_secs: 900, duration_timeout_secs: 3_600,
//! };
//! client.set_rollout_options("app-service", &options).await?;
//! client.set_target_version("app-service", Version::parse("v2")?).await?;
//! let target = ClassicTarget {
//!     name: "host-1".into(), version: Some(Version::parse("v1")?), message: "running".into(), ..ClassicTarget::default()
//! };
//! let expected = client.orchestrate("app-service", &[target]).await?;
//! let info = client.rollout_info("app-service").await?;
//! # Ok(())
//! # }
//! ```

use std::hash::{BuildHasher as _, RandomState};

use futures_util::{Stream, stream};
use percent_encoding::utf8_percent_encode;
use reqwest::{Method, RequestBuilder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use unisono_model::api::Page;
use unisono_model::ids::Revision;
use unisono_model::rollout::{
    AcknowledgeRequest, Answer, CallView, ClassicInfo, ClassicOptions, ClassicTarget, Done, EntitySnapshot,
    EntitySummary, EntityView, Gap, GridView, Health, HistoryEntry, Instruction, OptionsChange, OutboxEntry, Phase,
    PlanRequest, PlanView, Policy, Report, ResumeDeliveryRequest, RolloutSummary, RolloutView, ScopedFreeze,
    SimulateRequest, SimulationView, SubscriberRequest, SubscriberView, TakenView, TargetId, TargetView,
    TargetsChanged, VerbName, VerbRequest, Version, VersionMark, VersionStatus, VersionView, WhyView,
};

use crate::client::Client;
use crate::error::ClientError;
use crate::follow::Follow;
use crate::query::{PageRequest, Query, SEGMENT, with_query};
use crate::request::Repeat;
use crate::sse::Event;

/// On what basis something is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// Only while the entity is at this revision.
    pub revision: Option<Revision>,
    /// A key of the caller's: the same request with the same key is done once, however often it is sent. A fresh one for
    /// each call when left out, which makes it safe that the client sends it again when the connection fails.
    pub key: Option<String>,
}

/// Which targets to list; all of them when nothing is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetQuery {
    /// Where they stand in the rollout.
    pub state: Option<Phase>,
    /// How they are.
    pub health: Option<Health>,
    /// The version that they run.
    pub version: Option<String>,
    /// Their group, exactly.
    pub group: Option<String>,
    /// With all of these labels.
    pub labels: Vec<(String, String)>,
    /// Whether they have left their version.
    pub drifted: Option<bool>,
    /// Whether they are told another version than they run.
    pub change: Option<bool>,
}

impl TargetQuery {
    fn query(&self, page: &PageRequest) -> Query {
        let mut query = page.query();
        query.option("state", self.state);
        query.option("health", self.health);
        query.option("version", self.version.as_deref());
        query.option("group", self.group.as_deref());
        query.option("drifted", self.drifted);
        query.option("change", self.change);
        for (key, value) in &self.labels {
            query.option("label", Some(format!("{key}={value}")));
        }
        query
    }
}

/// What a watch of an entity tells.
#[derive(Clone, Debug)]
pub enum EntityWatchEvent {
    /// Everything as it is now. Comes first, and again after the connection was lost.
    Snapshot(Box<EntitySnapshot>),
    /// Something was decided. Each entry comes once, in order.
    History(Box<HistoryEntry>),
    /// Targets have changed.
    Targets(TargetsChanged),
    /// The entity and its rollout have changed: they are like this now.
    Progress(Box<EntitySnapshot>),
    /// The fleet in cells, when cells were asked for.
    Grid(GridView),
    /// Entries of the history were missed, and are not kept any more.
    Gap(Gap),
}

/// An entity of the client's namespace. Cheap to make.
#[derive(Clone, Debug)]
pub struct Entity {
    client: Client,
    path: String,
}

/// A name as one segment of a path: any text, also one that would mean something there.
fn segment(name: &str) -> String {
    let mark = if matches!(name, "" | "." | "..") || name.starts_with('~') {
        "~"
    } else {
        ""
    };
    format!("{mark}{}", utf8_percent_encode(name, SEGMENT))
}

/// A key that nobody else has.
fn fresh_key() -> String {
    let half = || RandomState::new().hash_one(std::time::SystemTime::now());
    format!("{:016x}{:016x}", half(), half())
}

/// The word for a verb in a path.
fn word(verb: VerbName) -> String {
    let mut word = String::new();
    for letter in verb.as_str().chars() {
        if letter.is_ascii_uppercase() {
            word.push('-');
        }
        word.push(letter.to_ascii_lowercase());
    }
    word
}

impl Client {
    /// An entity, whether it exists or not: some methods make it.
    #[must_use]
    pub fn entity(&self, name: &str) -> Entity {
        Entity {
            client: self.clone(),
            path: format!("/entities/{}", segment(name)),
        }
    }

    /// One page of the entities, by name.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn entities(&self, page: &PageRequest) -> Result<Page<EntitySummary>, ClientError> {
        self.get("/entities", page.query()).await
    }

    // ---- as older controllers do it

    /// Sets the four options of an entity, and makes it if there is none.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when an option makes no sense; and as every method.
    pub async fn set_rollout_options(&self, entity: &str, options: &ClassicOptions) -> Result<Done, ClientError> {
        self.entity(entity).set_options(options, &Basis::default()).await
    }

    /// Sets the version to roll out, and makes the entity if there is none.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when the version is marked as bad; and as every method.
    pub async fn set_target_version(&self, entity: &str, version: Version) -> Result<Done, ClientError> {
        let request = VerbRequest {
            version: Some(version),
            ..VerbRequest::default()
        };
        self.entity(entity).set_version(&request, &Basis::default()).await
    }

    /// Reports targets, and returns what each of them should run, in the same order.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when a target makes no sense; and as every method.
    pub async fn orchestrate(
        &self,
        entity: &str,
        targets: &[ClassicTarget],
    ) -> Result<Vec<ClassicTarget>, ClientError> {
        let reports: Vec<Report<'_>> = targets.iter().map(Report::from).collect();
        let told = self.entity(entity).report(&reports).await?;
        Ok(told
            .into_iter()
            .zip(targets)
            .map(|(told, target)| told.into_classic(target))
            .collect())
    }

    /// Which version is rolled out, and which ones are known to be good and bad.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when there is no such entity; and as every method.
    pub async fn rollout_info(&self, entity: &str) -> Result<ClassicInfo, ClientError> {
        let entity = self.entity(entity);
        let view = entity.get().await?;
        let options = match entity.options().await {
            Ok(options) => Some(options),
            Err(error) if error.code() == Some("no-options") => None,
            Err(error) => return Err(error),
        };
        Ok(ClassicInfo {
            target_version: view.summary.target_version,
            rolling_version: view.summary.rollout.map(|rollout| rollout.version),
            last_known_good_version: view.summary.last_known_good,
            last_known_bad_version: view.summary.last_known_bad,
            options,
        })
    }

    // ---- freezes of more than one entity

    /// The freezes of everything and of namespaces.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn freezes(&self) -> Result<Vec<ScopedFreeze>, ClientError> {
        self.read(self.outside(Method::GET, "/api/v1/freezes"), Repeat::Safe)
            .await
    }

    /// Lets nothing move in the namespace.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn freeze_namespace(&self, request: &VerbRequest) -> Result<TakenView, ClientError> {
        self.post("/freeze", request, Repeat::Never).await
    }

    /// Ends the freeze of the namespace.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when it is not frozen; and as every method.
    pub async fn thaw_namespace(&self, request: &VerbRequest) -> Result<TakenView, ClientError> {
        self.post("/thaw", request, Repeat::Never).await
    }

    /// Lets nothing move anywhere.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn freeze_everything(&self, request: &VerbRequest) -> Result<TakenView, ClientError> {
        let post = self.outside(Method::POST, "/api/v1/freeze").json(request);
        self.read(post, Repeat::Never).await
    }

    /// Ends the freeze of everything.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when it is not frozen; and as every method.
    pub async fn thaw_everything(&self, request: &VerbRequest) -> Result<TakenView, ClientError> {
        let post = self.outside(Method::POST, "/api/v1/thaw").json(request);
        self.read(post, Repeat::Never).await
    }
}

impl Entity {
    fn path(&self, rest: &str) -> String {
        format!("{}{rest}", self.path)
    }

    async fn get_at<T: DeserializeOwned>(&self, rest: &str, query: Query) -> Result<T, ClientError> {
        self.client.get(&self.path(rest), query).await
    }

    /// A change: on its basis, and with a key, so that it may be sent again.
    async fn change(&self, request: RequestBuilder, basis: &Basis) -> Result<Done, ClientError> {
        let key = basis.key.clone().unwrap_or_else(fresh_key);
        let mut request = request.header("idempotency-key", key);
        if let Some(revision) = basis.revision {
            request = request.header("if-match", format!("\"{revision}\""));
        }
        self.client.read(request, Repeat::Safe).await
    }

    async fn put(&self, rest: &str, body: &impl Serialize, basis: &Basis) -> Result<Done, ClientError> {
        let request = self.client.request(Method::PUT, &self.path(rest)).json(body);
        self.change(request, basis).await
    }

    /// Everything about it, its targets left out.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `entity-not-found`; and as every method.
    pub async fn get(&self) -> Result<EntityView, ClientError> {
        self.get_at("", Query::default()).await
    }

    /// Follows it: a snapshot, then every decision in order, and what changes, put together when much does. With `cells`
    /// the fleet is told as a grid as well. A broken connection is opened again where it broke; after several failures in
    /// a row the stream ends with the error.
    pub fn watch(
        &self,
        cells: Option<u32>,
    ) -> impl Stream<Item = Result<EntityWatchEvent, ClientError>> + Send + use<> {
        let mut query = Query::default();
        query.option("cells", cells);
        let begin = Follow::new(&self.client, with_query(&self.path, &query));
        stream::unfold(Some(begin), |watch| async {
            let mut follow = watch?;
            loop {
                let event = match follow.next().await {
                    Ok(event) => told(&follow, &event),
                    Err(error) => Err(error),
                };
                match event.transpose() {
                    None => {}
                    Some(Err(error)) => return Some((Err(error), None)),
                    Some(event) => return Some((event, Some(follow))),
                }
            }
        })
    }

    // ---- reports

    /// Reports targets: what each of them should do, in the same order. Makes the entity.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when a target makes no sense; and as every method.
    pub async fn report(&self, targets: &[Report<'_>]) -> Result<Vec<Instruction>, ClientError> {
        // A report that comes twice says the same twice.
        self.client.post(&self.path("/reports"), &targets, Repeat::Safe).await
    }

    /// Reports one target: what it should do. Makes the entity.
    ///
    /// # Errors
    /// As [`Entity::report`].
    pub async fn report_one(&self, target: &Report<'_>) -> Result<Instruction, ClientError> {
        self.client.post(&self.path("/reports"), target, Repeat::Safe).await
    }

    // ---- versions and policies

    /// The version that was set last, and those that are known to be good and bad.
    ///
    /// # Errors
    /// As [`Entity::get`].
    pub async fn version(&self) -> Result<VersionStatus, ClientError> {
        self.get_at("/version", Query::default()).await
    }

    /// Sets the version to roll out. Makes the entity.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `bad-version` or `rollout-under-way`; and as every method.
    pub async fn set_version(&self, request: &VerbRequest, basis: &Basis) -> Result<Done, ClientError> {
        self.put("/version", request, basis).await
    }

    /// One page of what is known of versions.
    ///
    /// # Errors
    /// As [`Entity::get`].
    pub async fn versions(
        &self,
        mark: Option<VersionMark>,
        page: &PageRequest,
    ) -> Result<Page<VersionView>, ClientError> {
        let mut query = page.query();
        query.option(
            "mark",
            mark.map(|mark| match mark {
                VersionMark::Good => "good",
                VersionMark::Bad => "bad",
                VersionMark::Untried => "untried",
            }),
        );
        self.get_at("/versions", query).await
    }

    /// The policy in force.
    ///
    /// # Errors
    /// As [`Entity::get`].
    pub async fn policy(&self) -> Result<Policy, ClientError> {
        self.get_at("/policy", Query::default()).await
    }

    /// Sets the policy. Makes the entity.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with everything in it that makes no sense; and as every method.
    pub async fn set_policy(&self, policy: &Policy, reason: Option<&str>, basis: &Basis) -> Result<Done, ClientError> {
        let mut query = Query::default();
        query.option("reason", reason);
        self.put(&with_query("/policy", &query), policy, basis).await
    }

    /// Sets the policy from a text in YAML or JSON, which `file` is the name of. Makes the entity.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with every mistake, its line and its column; and as every method.
    pub async fn set_policy_text(
        &self,
        (file, text): (&str, &str),
        reason: Option<&str>,
        basis: &Basis,
    ) -> Result<Done, ClientError> {
        self.write_policy(Method::PUT, (file, text), reason, basis).await
    }

    /// Sets fields of the policy from a text in YAML or JSON, which `file` is the name of. Fields that are not named stay,
    /// those of objects as well; a list is replaced. Makes the entity.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with every mistake, its line and its column; and as every method.
    pub async fn change_policy_text(
        &self,
        (file, text): (&str, &str),
        reason: Option<&str>,
        basis: &Basis,
    ) -> Result<Done, ClientError> {
        self.write_policy(Method::PATCH, (file, text), reason, basis).await
    }

    async fn write_policy(
        &self,
        method: Method,
        (file, text): (&str, &str),
        reason: Option<&str>,
        basis: &Basis,
    ) -> Result<Done, ClientError> {
        let mut query = Query::default();
        query.option("file", Some(file));
        query.option("reason", reason);
        let path = with_query(&self.path("/policy"), &query);
        let request = self.client.request(method, &path).body(text.to_owned());
        self.change(request.header("content-type", "application/yaml"), basis)
            .await
    }

    /// The four options of older controllers, if the policy was set by them.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `no-options` when it was not; and as [`Entity::get`].
    pub async fn options(&self) -> Result<ClassicOptions, ClientError> {
        self.get_at("/options", Query::default()).await
    }

    /// Sets the four options of older controllers in the policy, of which the rest stays. Makes the entity.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when an option makes no sense; and as every method.
    pub async fn set_options(&self, options: &ClassicOptions, basis: &Basis) -> Result<Done, ClientError> {
        self.put("/options", options, basis).await
    }

    /// Sets some of the four options of older controllers in the policy; the others stay as they were set last, or have
    /// their default. Makes the entity.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when an option makes no sense; and as every method.
    pub async fn change_options(&self, change: &OptionsChange, basis: &Basis) -> Result<Done, ClientError> {
        let request = self.client.request(Method::PATCH, &self.path("/options"));
        self.change(request.json(change), basis).await
    }

    // ---- rollouts

    /// The rollout that is under way, or was last.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `no-rollout` when there never was one; and as [`Entity::get`].
    pub async fn rollout(&self) -> Result<RolloutView, ClientError> {
        self.get_at("/rollout", Query::default()).await
    }

    /// One page of the rollouts, the newest first.
    ///
    /// # Errors
    /// As [`Entity::get`].
    pub async fn rollouts(&self, page: &PageRequest) -> Result<Page<RolloutSummary>, ClientError> {
        self.get_at("/rollouts", page.query()).await
    }

    /// A rollout by its number.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `rollout-not-found`; and as [`Entity::get`].
    pub async fn past_rollout(&self, number: u32) -> Result<RolloutSummary, ClientError> {
        self.get_at(&format!("/rollouts/{number}"), Query::default()).await
    }

    /// One page of what was decided after an entry and by whom, the oldest first; of one rollout, when it is named.
    ///
    /// # Errors
    /// As [`Entity::get`].
    pub async fn history(
        &self,
        after: u64,
        rollout: Option<u32>,
        page: &PageRequest,
    ) -> Result<Page<HistoryEntry>, ClientError> {
        let mut query = page.query();
        query.option("after", Some(after));
        query.option("rollout", rollout);
        self.get_at("/history", query).await
    }

    /// What rolling out a version would do, before anything moves.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when the policy makes no sense; and as [`Entity::get`].
    pub async fn plan(&self, request: &PlanRequest) -> Result<PlanView, ClientError> {
        self.client.post(&self.path("/plan"), request, Repeat::Safe).await
    }

    /// A rollout against a model of failures. The same seed gives the same simulation.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when the request makes no sense; and as [`Entity::get`].
    pub async fn simulate(&self, request: &SimulateRequest) -> Result<SimulationView, ClientError> {
        self.client.post(&self.path("/simulate"), request, Repeat::Safe).await
    }

    /// Why it stands where it stands, and what would move it.
    ///
    /// # Errors
    /// As [`Entity::get`].
    pub async fn why(&self) -> Result<WhyView, ClientError> {
        self.get_at("/why", Query::default()).await
    }

    /// Why a target stands where it stands, and what would move it.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `target-not-found`; and as [`Entity::get`].
    pub async fn why_target(&self, target: &TargetId) -> Result<WhyView, ClientError> {
        let (path, query) = self.target_path(target, "/why");
        self.get_at(&path, query).await
    }

    /// Does something to it or its rollout. Each verb takes some of the fields of the request.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the reason why not, such as `no-rollout`, `not-now` or `changed-meanwhile`; and as
    /// every method.
    pub async fn act(&self, verb: VerbName, request: &VerbRequest, basis: &Basis) -> Result<Done, ClientError> {
        let path = self.path(&format!("/{}", word(verb)));
        self.change(self.client.request(Method::POST, &path).json(request), basis)
            .await
    }

    // ---- targets

    /// One page of the targets that fit, in the order in which they were first seen.
    ///
    /// # Errors
    /// As [`Entity::get`].
    pub async fn targets(&self, which: &TargetQuery, page: &PageRequest) -> Result<Page<TargetView>, ClientError> {
        self.get_at("/targets", which.query(page)).await
    }

    /// One page of what the targets that fit should do.
    ///
    /// # Errors
    /// As [`Entity::get`].
    pub async fn instructions(
        &self,
        which: &TargetQuery,
        page: &PageRequest,
    ) -> Result<Page<Instruction>, ClientError> {
        self.get_at("/instructions", which.query(page)).await
    }

    /// One target.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `target-not-found`; and as [`Entity::get`].
    pub async fn target(&self, target: &TargetId) -> Result<TargetView, ClientError> {
        let (path, query) = self.target_path(target, "");
        self.get_at(&path, query).await
    }

    fn target_path(&self, target: &TargetId, rest: &str) -> (String, Query) {
        let mut query = Query::default();
        query.option("group", Some(&*target.group).filter(|group| !group.is_empty()));
        (format!("/targets/{}{rest}", segment(&target.name)), query)
    }

    /// The fleet in so many cells.
    ///
    /// # Errors
    /// As [`Entity::get`].
    pub async fn grid(&self, cells: u32) -> Result<GridView, ClientError> {
        let mut query = Query::default();
        query.option("cells", Some(cells));
        self.get_at("/grid", query).await
    }

    // ---- for those who are asked, and who are told

    /// The calls that wait for an answer.
    ///
    /// # Errors
    /// As [`Entity::get`].
    pub async fn calls(&self) -> Result<Vec<CallView>, ClientError> {
        self.get_at("/calls", Query::default()).await
    }

    /// Answers a call.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `call-not-found` or `wrong-answer`; and as every method.
    pub async fn answer(&self, call: u64, answer: &Answer) -> Result<TakenView, ClientError> {
        let path = self.path(&format!("/calls/{call}/answer"));
        self.client.post(&path, answer, Repeat::Never).await
    }

    /// Its subscribers: what each has received, and what keeps it from receiving more.
    ///
    /// # Errors
    /// As [`Entity::get`].
    pub async fn subscribers(&self) -> Result<Vec<SubscriberView>, ClientError> {
        self.get_at("/subscribers", Query::default()).await
    }

    /// Adds a subscriber to the policy, or changes it. A new one is told what happens from now on. Makes the entity.
    ///
    /// # Errors
    /// [`ClientError::Problem`] when the endpoint makes no sense; and as every method.
    pub async fn set_subscriber(
        &self,
        subscriber: &str,
        request: &SubscriberRequest,
        basis: &Basis,
    ) -> Result<Done, ClientError> {
        self.put(&format!("/subscribers/{}", segment(subscriber)), request, basis)
            .await
    }

    /// Removes a subscriber from the policy.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `subscriber-not-found`; and as [`Entity::get`].
    pub async fn remove_subscriber(
        &self,
        subscriber: &str,
        reason: Option<&str>,
        basis: &Basis,
    ) -> Result<Done, ClientError> {
        let mut query = Query::default();
        query.option("reason", reason);
        let path = with_query(&self.path(&format!("/subscribers/{}", segment(subscriber))), &query);
        self.change(self.client.request(Method::DELETE, &path), basis).await
    }

    /// Tells a subscriber again that failed or is parked.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `subscriber-not-found`; and as [`Entity::get`].
    pub async fn resume_subscriber(
        &self,
        subscriber: &str,
        request: &ResumeDeliveryRequest,
    ) -> Result<TakenView, ClientError> {
        let path = self.path(&format!("/subscribers/{}/resume", segment(subscriber)));
        self.client.post(&path, request, Repeat::Safe).await
    }

    /// What a subscriber has not received, the oldest first.
    ///
    /// # Errors
    /// As [`Entity::get`].
    pub async fn outbox(&self, subscriber: &str, limit: Option<u32>) -> Result<Vec<OutboxEntry>, ClientError> {
        let mut query = Query::default();
        query.option("limit", limit);
        self.get_at(&format!("/subscribers/{}/outbox", segment(subscriber)), query)
            .await
    }

    /// A subscriber has received the history up to an entry.
    ///
    /// # Errors
    /// As [`Entity::get`].
    pub async fn acknowledge(&self, subscriber: &str, sequence: u64) -> Result<TakenView, ClientError> {
        let path = self.path(&format!("/subscribers/{}/acknowledge", segment(subscriber)));
        self.client
            .post(&path, &AcknowledgeRequest { sequence }, Repeat::Safe)
            .await
    }
}

/// `None` for events of later days.
fn told(follow: &Follow, event: &Event) -> Result<Option<EntityWatchEvent>, ClientError> {
    let data = &event.data;
    Ok(Some(match event.name.as_str() {
        "snapshot" => EntityWatchEvent::Snapshot(follow.parse(data)?),
        "history" => EntityWatchEvent::History(follow.parse(data)?),
        "targets" => EntityWatchEvent::Targets(follow.parse(data)?),
        "progress" => EntityWatchEvent::Progress(follow.parse(data)?),
        "grid" => EntityWatchEvent::Grid(follow.parse(data)?),
        "gap" => EntityWatchEvent::Gap(follow.parse(data)?),
        _ => return Ok(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_can_stand_in_a_path() {
        for (name, segment_of_it) in [
            ("app", "app"),
            ("..", "~.."),
            (".", "~."),
            ("~x", "~~x"),
            ("a/b", "a%2Fb"),
            ("a.b \"c\"", "a.b%20%22c%22"),
            ("服", "%E6%9C%8D"),
            ("%2F", "%252F"),
        ] {
            assert_eq!(segment(name), segment_of_it);
        }
    }

    #[test]
    fn no_key_comes_twice() {
        assert_ne!(fresh_key(), fresh_key());
    }
}
