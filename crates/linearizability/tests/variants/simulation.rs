//! Clients that use a system at the same time, and a server that is killed under them.

use unisono_linearizability::{Call, History, Model, Recorder, Verdict, check};

pub(crate) const CLIENTS: usize = 6;
/// Operations of one history.
const OPERATIONS: usize = 3_000;
const SEEDS: u64 = 5;

/// A system, as one process that does one thing after the other.
pub(crate) trait System: Clone {
    type Model: Model<Input: Clone, Output: Clone>;

    /// On average. Each crash leaves doubtful operations, which cost the checker more where their order matters longer.
    const STEPS_BETWEEN_CRASHES: u64;

    /// What a client asks next, knowing what it got last.
    fn ask(&self, client: usize, last: Option<&OutputOf<Self>>, random: &mut Random) -> InputOf<Self>;

    /// Does it. `then` is the system as it was when the client asked, which only a broken one looks at.
    fn act(&mut self, input: &InputOf<Self>, then: &Self, random: &mut Random) -> OutputOf<Self>;

    /// This is about to be answered, so whatever it promises must be durable.
    fn sync(&mut self, output: &OutputOf<Self>) {
        let _ = output;
    }

    /// It is killed, and comes back.
    fn crash(&mut self) {}

    /// Whether it does later what was lost. Nothing that is right does.
    fn repeats(&self) -> bool {
        false
    }
}

pub(crate) type InputOf<S> = <<S as System>::Model as Model>::Input;
pub(crate) type OutputOf<S> = <<S as System>::Model as Model>::Output;

/// A request on its way.
enum Client<S: System> {
    Idle(Option<OutputOf<S>>),
    Asked(Call<&'static str>, InputOf<S>, Box<S>),
    Done(Call<&'static str>, OutputOf<S>),
}

/// A history of the system.
pub(crate) fn history<S: System>(mut system: S, seed: u64) -> History<&'static str, InputOf<S>, OutputOf<S>> {
    let recorder = Recorder::default();
    let mut random = Random(seed);
    let mut clients: Vec<Client<S>> = (0..CLIENTS).map(|_| Client::Idle(None)).collect();
    // What was asked, was not answered, and is done later.
    let mut late: Vec<InputOf<S>> = Vec::new();
    let mut operations = 0;
    while operations < OPERATIONS {
        if random.one_in(S::STEPS_BETWEEN_CRASHES) {
            for client in &mut clients {
                let (call, input) = match std::mem::replace(client, Client::Idle(None)) {
                    Client::Idle(last) => {
                        *client = Client::Idle(last);
                        continue;
                    }
                    Client::Asked(call, input, _) => (call, Some(input)),
                    Client::Done(call, _) => (call, None),
                };
                // Most died with the server. A few are still on their way, and arrive later or never.
                if system.repeats() {
                    late.extend(input);
                    recorder.lost(&call);
                } else if random.one_in(20) {
                    late.extend(input.filter(|_| random.one_in(2)));
                } else {
                    recorder.lost(&call);
                }
            }
            system.crash();
        }
        if !late.is_empty() && random.below(20) == 0 {
            let input = late.swap_remove(random.index(late.len()));
            let then = system.clone();
            system.act(&input, &then, &mut random);
        }
        let index = random.index(CLIENTS);
        let client = &mut clients[index];
        *client = match std::mem::replace(client, Client::Idle(None)) {
            Client::Idle(last) => {
                operations += 1;
                let input = system.ask(index, last.as_ref(), &mut random);
                let call = recorder.call(index, "key", input.clone());
                Client::Asked(call, input, Box::new(system.clone()))
            }
            Client::Asked(call, input, then) => Client::Done(call, system.act(&input, &then, &mut random)),
            Client::Done(call, output) => {
                system.sync(&output);
                recorder.returned(&call, output.clone());
                Client::Idle(Some(output))
            }
        };
    }
    recorder.finish()
}

/// Checks that no history of the system is refused.
pub(crate) fn accepts<S: System<Model: Default>>(system: &S) {
    for seed in 0..SEEDS {
        let verdict = check(&S::Model::default(), &history(system.clone(), seed));
        assert_eq!(verdict, Verdict::Linearizable, "seed {seed}");
    }
}

/// Checks that every history of the system is refused.
pub(crate) fn catches<S: System<Model: Default>>(system: &S) {
    for seed in 0..SEEDS {
        let verdict = check(&S::Model::default(), &history(system.clone(), seed));
        assert!(
            matches!(verdict, Verdict::NotLinearizable(_)),
            "seed {seed}: {verdict:?}"
        );
    }
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % end
    }

    pub(crate) fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }

    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
