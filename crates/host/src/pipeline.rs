//! The services of a host: started in order, stopped in reverse.

use std::sync::Arc;

use futures_util::future::select_all;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::BoxError;
use crate::leadership::Leadership;
use crate::life::Life;
use crate::problem::Problem;
use crate::service::{Service, ServiceContext};

/// The services that were started.
pub(crate) struct Pipeline {
    life: Arc<Life>,
    leadership: Leadership,
    running: Vec<Running>,
}

struct Running {
    name: String,
    stop: CancellationToken,
    task: JoinHandle<Result<(), BoxError>>,
}

type Ended = Result<Result<(), BoxError>, JoinError>;

impl Pipeline {
    pub(crate) fn new(life: Arc<Life>, leadership: Leadership) -> Self {
        Self {
            life,
            leadership,
            running: Vec::new(),
        }
    }

    /// Runs the services from the first start to the last stop: until the services shutdown, whatever happens before.
    pub(crate) async fn run(mut self, services: Vec<Box<dyn Service>>) {
        let shutdown = self.life.services_shutdown.clone();
        let problem = tokio::select! {
            biased;
            () = shutdown.cancelled() => None,
            problem = self.start_and_watch(services) => Some(problem),
        };
        if let Some(problem) = problem {
            self.life.problem.raise(problem);
            shutdown.cancelled().await;
        }
        self.stop().await;
    }

    /// Starts one after the other, and then waits until one fails.
    async fn start_and_watch(&mut self, services: Vec<Box<dyn Service>>) -> Problem {
        for service in services {
            let started = self.spawn(service);
            tokio::select! {
                biased;
                problem = self.failed() => return problem,
                () = started => {}
            }
        }
        self.failed().await
    }

    /// Starts a service; the future resolves when it says that it has started.
    fn spawn(&mut self, service: Box<dyn Service>) -> impl Future<Output = ()> + use<> {
        let stop = CancellationToken::new();
        let (context, started) = ServiceContext::new(self.leadership.clone(), stop.clone());
        let name = service.name().to_owned();
        tracing::info!("starting the service {name}");
        let task = tokio::spawn(service.run(context));
        self.running.push(Running { name, stop, task });
        async move {
            if started.await.is_err() {
                // It has ended, which says more, or will never say it.
                std::future::pending().await
            }
        }
    }

    /// Resolves when a service ends; never, where there is none.
    async fn failed(&mut self) -> Problem {
        if self.running.is_empty() {
            return std::future::pending().await;
        }
        let (ended, index, _) = select_all(self.running.iter_mut().map(|running| &mut running.task)).await;
        let Running { name, .. } = self.running.remove(index);
        why(&name, ended).unwrap_or(Problem::ServiceEnded { service: name })
    }

    /// Stops the services, the last one first, each when those after it have stopped.
    async fn stop(self) {
        for Running { name, stop, task } in self.running.into_iter().rev() {
            tracing::info!("stopping the service {name}");
            stop.cancel();
            if let Some(problem) = why(&name, task.await) {
                self.life.problem.raise(problem);
            }
        }
    }
}

/// Why a service ended, unless it was in order.
fn why(name: &str, ended: Ended) -> Option<Problem> {
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(Problem::service(name, error)),
        Err(panicked) => Some(Problem::service(name, panicked.into())),
    }
}
