//! Who kills, whom, and when.

use std::time::{Duration, Instant};

use super::load::Load;
use crate::harness::{AgentProcess, Random, Server};

/// How many processes were killed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kills {
    pub(super) server: u32,
    pub(super) agents: u32,
}

const MOMENT: Duration = Duration::from_millis(300);

/// Kills for so long; in the end everything runs again.
pub(super) fn kill_and_restart(
    mut server: Server,
    mut agents: Vec<AgentProcess>,
    load: &Load,
    mut random: Random,
    during: Duration,
) -> (Server, Vec<AgentProcess>, Kills) {
    let (begin, mut kills) = (Instant::now(), Kills::default());
    while begin.elapsed() < during {
        std::thread::sleep(random.between(Duration::from_millis(200), Duration::from_millis(2800)));
        if random.below(2) == 0 {
            let victim = usize::try_from(random.below(agents.len() as u64)).unwrap();
            agents[victim].kill();
            kills.agents += 1;
            std::thread::sleep(random.between(Duration::ZERO, MOMENT));
            agents[victim].restart();
        }
        if random.below(3) > 0 {
            // When a client has just been told something is when it is the easiest to lose.
            load.wait_until_acknowledged(MOMENT);
        }
        server.kill();
        kills.server += 1;
        while random.below(4) == 0 {
            // In the middle of its recovery.
            let _listening = server.launch();
            std::thread::sleep(random.between(Duration::ZERO, MOMENT));
            server.kill();
            kills.server += 1;
        }
        std::thread::sleep(random.between(Duration::ZERO, MOMENT));
        server.restart();
    }
    (server, agents, kills)
}
