//! A lock for which one waits: to come and to be granted are two operations, and who has come may be seen before the
//! grant.

use std::collections::VecDeque;

use unisono_linearizability::models::{FairLock, FairLockInput, FairLockOutput};
use unisono_linearizability::{Call, History, Recorder, Verdict, check};

use crate::simulation::Random;

const CLIENTS: u64 = 6;
const ROUNDS: usize = 20_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Overtakes,
    DoubleGrant,
    TokenReused,
    PlacesForgottenInACrash,
}

/// How far a client has come.
enum Client {
    Away,
    Asked { come: Call<()>, grant: Call<()> },
    Waits { come: Option<Call<()>>, grant: Call<()> },
    Holds,
}

fn history(fault: Option<Fault>, seed: u64) -> History<(), FairLockInput, FairLockOutput> {
    let recorder = Recorder::default();
    let mut random = Random(seed);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::Away).collect();
    let (mut waiting, mut holder, mut token) = (VecDeque::new(), None, 0);
    for _ in 0..ROUNDS {
        if fault == Some(Fault::PlacesForgottenInACrash) && random.one_in(200) {
            waiting.make_contiguous().sort_unstable();
        }
        let who = random.below(CLIENTS);
        let index = usize::try_from(who).unwrap();
        clients[index] = match std::mem::replace(&mut clients[index], Client::Away) {
            Client::Away => Client::Asked {
                come: recorder.call(index, (), FairLockInput::Come(who)),
                grant: recorder.call(index, (), FairLockInput::Grant(who)),
            },
            Client::Asked { come, grant } => {
                waiting.push_back(who);
                Client::Waits {
                    come: Some(come),
                    grant,
                }
            }
            // Sometimes its place is seen before its turn comes.
            Client::Waits {
                come: Some(come),
                grant,
            } if random.one_in(3) => {
                recorder.returned(&come, FairLockOutput::Done);
                Client::Waits { come: None, grant }
            }
            Client::Waits { come, grant } => {
                let overtakes = fault == Some(Fault::Overtakes) && random.one_in(10);
                let ignores = fault == Some(Fault::DoubleGrant) && random.one_in(20);
                if (waiting.front() != Some(&who) && !overtakes) || (holder.is_some() && !ignores) {
                    clients[index] = Client::Waits { come, grant };
                    continue;
                }
                waiting.retain(|waiting| *waiting != who);
                holder = Some(who);
                token += u64::from(fault != Some(Fault::TokenReused) || !random.one_in(20));
                for call in come.iter() {
                    recorder.returned(call, FairLockOutput::Done);
                }
                recorder.returned(&grant, FairLockOutput::Granted(token));
                Client::Holds
            }
            Client::Holds => {
                let leave = recorder.call(index, (), FairLockInput::Leave(who));
                holder = holder.filter(|holder| *holder != who);
                recorder.returned(&leave, FairLockOutput::Done);
                Client::Away
            }
        };
    }
    recorder.finish()
}

fn catches(fault: Fault) {
    for seed in 0..5 {
        let verdict = check(&FairLock, &history(Some(fault), seed));
        assert!(
            matches!(verdict, Verdict::NotLinearizable(_)),
            "seed {seed}: {verdict:?}"
        );
    }
}

#[test]
fn a_fair_lock_that_is_right_is_accepted() {
    for seed in 0..5 {
        assert_eq!(
            check(&FairLock, &history(None, seed)),
            Verdict::Linearizable,
            "seed {seed}"
        );
    }
}

#[test]
fn a_lock_that_lets_overtake_is_caught() {
    catches(Fault::Overtakes);
}

#[test]
fn a_double_grant_is_caught() {
    catches(Fault::DoubleGrant);
}

#[test]
fn a_token_that_is_used_twice_is_caught() {
    catches(Fault::TokenReused);
}

#[test]
fn places_that_a_crash_forgets_are_caught() {
    catches(Fault::PlacesForgottenInACrash);
}
