//! Rollouts for a program that embeds a node: the same as over HTTP, without a connection.

use unisono_engine::rollout::{By, Verb};
use unisono_model::api::Problem;
use unisono_model::name::Name;
use unisono_model::rollout::{ClassicInfo, ClassicOptions, ClassicTarget, Done, EntityName, Report, Reports, Version};

use crate::Node;
use crate::api::{ApiError, rollouts};

impl Node {
    /// Sets the four options of an entity in its policy, of which the rest stays. Makes the namespace and the entity.
    /// `actor` says who, for the history.
    ///
    /// # Errors
    /// The problem that the HTTP API would answer with.
    pub async fn set_rollout_options(
        &self,
        at: (Name, EntityName),
        options: &ClassicOptions,
        actor: Option<String>,
    ) -> Result<Done, Problem> {
        let by = By { actor, ..By::default() };
        rollouts::change_options(&self.api, at, by, |_| *options)
            .await
            .map_err(ApiError::into_problem)
    }

    /// Sets the version to roll out. Makes the namespace and the entity. `actor` says who, for the history.
    ///
    /// # Errors
    /// The problem that the HTTP API would answer with, such as that the version is marked as bad.
    pub async fn set_target_version(
        &self,
        at: (Name, EntityName),
        version: Version,
        actor: Option<String>,
    ) -> Result<Done, Problem> {
        let by = By { actor, ..By::default() };
        let verb = Verb::SetVersion { version, force: false };
        rollouts::act(&self.api, at, by, verb)
            .await
            .map_err(ApiError::into_problem)
    }

    /// Reports targets, and returns what each of them should run, in the same order, once that is durable. Makes the
    /// namespace and the entity.
    ///
    /// # Errors
    /// The problem that the HTTP API would answer with. When a target makes no sense, none is taken.
    pub async fn orchestrate(
        &self,
        (namespace, entity): (Name, EntityName),
        targets: &[ClassicTarget],
    ) -> Result<Vec<ClassicTarget>, Problem> {
        let mut reports = Reports::with_capacity(targets.len());
        for target in targets {
            reports
                .push(&Report::from(target))
                .map_err(|error| rollouts::bad_target(&error.0).into_problem())?;
        }
        let asked = rollouts::report(&self.api, &namespace, &entity, reports).await;
        let tags = |place: usize| targets.get(place).map_or(String::new(), |target| target.tags.clone());
        asked
            .and_then(|asked| rollouts::expected(asked, tags))
            .map_err(ApiError::into_problem)
    }

    /// Which version is rolled out, and which ones are known to be good and bad; none when there is no such entity.
    ///
    /// # Errors
    /// The problem that the HTTP API would answer with.
    pub async fn rollout_info(&self, (namespace, entity): (Name, EntityName)) -> Result<Option<ClassicInfo>, Problem> {
        let info = rollouts::info(&self.api, namespace, entity).await;
        info.map_err(ApiError::into_problem)
    }
}
