//! An agent that greets: `cargo run -p unisono-agent --example hello`.

use serde::Deserialize;
use unisono_agent::{ActivityContext, ActivityProcessor, ActivityResult, Agent, Processed};

#[derive(Deserialize)]
struct Input {
    name: String,
}

struct Greeter;

impl ActivityProcessor for Greeter {
    async fn process(&self, context: &mut ActivityContext) -> Processed {
        let input: Input = context.input()?;
        context.set_output("greeting", format!("hello, {}", input.name))?;
        Ok(ActivityResult::Complete)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let agent = Agent::builder()
        .name("hello")
        .env_prefix("HELLO")
        .activity("greet.example.com", |_| Ok(Greeter))
        .build()?;
    Ok(agent.run(async { drop(tokio::signal::ctrl_c().await) }).await?)
}
