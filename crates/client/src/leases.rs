//! Leases, locks and elections.

use std::time::{Duration, Instant};

use futures_util::{Stream, stream};
use reqwest::Method;
use serde::de::DeserializeOwned;
use unisono_model::api::Page;
use unisono_model::ids::Revision;
use unisono_model::leases::{
    AcquireRequest, CampaignRequest, ElectionView, GrantView, LeaseRequest, LeaseView, LockView, ProclaimRequest,
    ReleaseRequest, StealRequest, StealResponse,
};

use crate::client::Client;
use crate::error::ClientError;
use crate::follow::Follow;
use crate::query::{PageRequest, Query, segment};
use crate::request::Repeat;
use crate::values::{ANSWER_WITHIN, millis_up};

fn lease_path(lease: Revision, rest: &str) -> String {
    format!("/leases/{lease}{rest}")
}

fn lock_path(name: &str, rest: &str) -> Result<String, ClientError> {
    Ok(format!("/locks/{}{rest}", segment("the lock's name", name)?))
}

fn election_path(name: &str, rest: &str) -> Result<String, ClientError> {
    Ok(format!("/elections/{}{rest}", segment("the election's name", name)?))
}

impl Client {
    // ---- leases

    /// Asks for a lease. [`Client::keep_lease`] asks for one and renews it.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn grant_lease(&self, request: &LeaseRequest) -> Result<LeaseView, ClientError> {
        self.post("/leases", request, Repeat::Never).await
    }

    /// Renews a lease once; the answer tells what it holds. Safe to repeat.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `lease-not-found` when it has ended; and as every method.
    pub async fn renew_lease(&self, lease: Revision) -> Result<LeaseView, ClientError> {
        let request = self.request(Method::POST, &lease_path(lease, "/renew"));
        self.read(request, Repeat::Safe).await
    }

    /// Ends a lease, with everything that it holds.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `lease-not-found` when it has ended already; and as every method.
    pub async fn revoke_lease(&self, lease: Revision) -> Result<(), ClientError> {
        let request = self.request(Method::DELETE, &lease_path(lease, ""));
        self.send(request, Repeat::Never).await.map(drop)
    }

    /// A lease.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `lease-not-found` when it has ended; and as every method.
    pub async fn lease(&self, lease: Revision) -> Result<LeaseView, ClientError> {
        self.get(&lease_path(lease, ""), Query::default()).await
    }

    /// One page of the leases, the oldest first.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn leases(&self, page: &PageRequest) -> Result<Page<LeaseView>, ClientError> {
        self.get("/leases", page.query()).await
    }

    // ---- locks

    /// Acquires a lock: tries it, or waits for it as long as the request says, also through a restart of the server. The
    /// place in the queue is kept as long as the lease lives, so keep it alive meanwhile.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `lock-held`, `lock-wait-timeout`, `lease-not-found` or `wait-cycle`; and as
    /// every method.
    pub async fn acquire_lock(&self, name: &str, request: &AcquireRequest) -> Result<GrantView, ClientError> {
        let with = |wait_ms| AcquireRequest {
            wait_ms,
            ..request.clone()
        };
        self.acquire(&lock_path(name, "/acquire")?, request.wait_ms, with).await
    }

    /// Asking again while it waits, or after it was granted, gives the same place or the same token.
    async fn acquire<B: serde::Serialize>(
        &self,
        path: &str,
        wait_ms: Option<u64>,
        with: impl Fn(Option<u64>) -> B,
    ) -> Result<GrantView, ClientError> {
        let Some(wait_ms) = wait_ms else {
            return self.post(path, &with(None), Repeat::Safe).await;
        };
        let until = Instant::now() + Duration::from_millis(wait_ms);
        let ask = |left: Duration| {
            self.request(Method::POST, path)
                .json(&with(Some(millis_up(left))))
                .timeout(left + ANSWER_WITHIN)
        };
        self.patiently(until, ask).await
    }

    /// Releases a lock, or leaves its queue.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `lock-not-held` when the lease has nothing of it; and as every method.
    pub async fn release_lock(&self, name: &str, lease: Revision) -> Result<(), ClientError> {
        self.release(&lock_path(name, "/release")?, lease).await
    }

    async fn release(&self, path: &str, lease: Revision) -> Result<(), ClientError> {
        let request = self.request(Method::POST, path).json(&ReleaseRequest { lease });
        self.send(request, Repeat::Never).await.map(drop)
    }

    /// Takes a lock by force from whoever holds it. That is kept, with who did it and why.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `lock-free` when nobody holds it; and as every method.
    pub async fn steal_lock(&self, name: &str, request: &StealRequest) -> Result<StealResponse, ClientError> {
        self.post(&lock_path(name, "/steal")?, request, Repeat::Never).await
    }

    /// A lock: who holds it, and who waits for it.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn lock(&self, name: &str) -> Result<LockView, ClientError> {
        self.get(&lock_path(name, "")?, Query::default()).await
    }

    /// One page of the locks that somebody holds or waits for, or that were ever taken by force, by name.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn locks(&self, page: &PageRequest) -> Result<Page<LockView>, ClientError> {
        self.get("/locks", page.query()).await
    }

    /// Follows a lock: what it is like now, and again whenever it has changed. Changes that follow each other fast may be
    /// shown as one.
    pub fn watch_lock(&self, name: &str) -> impl Stream<Item = Result<LockView, ClientError>> + Send + use<> {
        self.views(lock_path(name, ""), "lock")
    }

    fn views<T: DeserializeOwned + Send>(
        &self,
        path: Result<String, ClientError>,
        word: &'static str,
    ) -> impl Stream<Item = Result<T, ClientError>> + Send + use<T> {
        let begin = path.map(|path| Follow::new(self, path));
        stream::unfold(Some(begin), move |watch| async move {
            let mut follow = match watch? {
                Ok(follow) => follow,
                Err(error) => return Some((Err(error), None)),
            };
            loop {
                match follow.next().await {
                    Ok(event) if event.name == word => {
                        let view = follow.parse(&event.data);
                        let next = view.is_ok().then_some(Ok(follow));
                        return Some((view, next));
                    }
                    Ok(_) => {}
                    Err(error) => return Some((Err(error), None)),
                }
            }
        })
    }

    // ---- elections

    /// Stands for an election, until elected or as long as the request says. As [`Client::acquire_lock`].
    ///
    /// # Errors
    /// As [`Client::acquire_lock`].
    pub async fn campaign(&self, name: &str, request: &CampaignRequest) -> Result<GrantView, ClientError> {
        let with = |wait_ms| CampaignRequest {
            wait_ms,
            ..request.clone()
        };
        self.acquire(&election_path(name, "/campaign")?, request.wait_ms, with)
            .await
    }

    /// Says something as the leader, to all who observe.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `lock-not-held` when the lease does not lead; and as every method.
    pub async fn proclaim(&self, name: &str, request: &ProclaimRequest) -> Result<(), ClientError> {
        let request = self
            .request(Method::POST, &election_path(name, "/proclaim")?)
            .json(request);
        self.send(request, Repeat::Never).await.map(drop)
    }

    /// Resigns from leadership, or stands no more.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `lock-not-held` when the lease neither leads nor stands; and as every method.
    pub async fn resign(&self, name: &str, lease: Revision) -> Result<(), ClientError> {
        self.release(&election_path(name, "/resign")?, lease).await
    }

    /// Takes leadership by force from whoever leads. That is kept, with who did it and why.
    ///
    /// # Errors
    /// [`ClientError::Problem`] with the code `lock-free` when nobody leads; and as every method.
    pub async fn depose(&self, name: &str, request: &StealRequest) -> Result<StealResponse, ClientError> {
        self.post(&election_path(name, "/steal")?, request, Repeat::Never).await
    }

    /// An election: who leads, what they proclaimed, and who stands.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn election(&self, name: &str) -> Result<ElectionView, ClientError> {
        self.get(&election_path(name, "")?, Query::default()).await
    }

    /// One page of the elections that somebody leads or stands for, or whose leader was ever deposed, by name.
    ///
    /// # Errors
    /// As every method: see [`ClientError`].
    pub async fn elections(&self, page: &PageRequest) -> Result<Page<ElectionView>, ClientError> {
        self.get("/elections", page.query()).await
    }

    /// Observes an election: what it is like now, and again whenever it has changed. Changes that follow each other fast
    /// may be shown as one.
    pub fn observe(&self, name: &str) -> impl Stream<Item = Result<ElectionView, ClientError>> + Send + use<> {
        self.views(election_path(name, ""), "election")
    }
}
