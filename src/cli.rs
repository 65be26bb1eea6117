//! The command line: what there is to say, and how an answer looks.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use postrider::config::{Config, Sources};
use postrider::logging;
use postrider::store::connect::Connector;

mod bench;
mod config;
mod demo;
mod endpoint;
mod enqueue;
mod inbox;
mod message;
mod method;
mod output;
mod preference;
mod queue;
mod run;
mod sample;
mod suppression;
mod template;
mod test_send;

use output::{Failed, Output};

/// A durable notification queue in PostgreSQL, and the worker that delivers from it.
#[derive(Debug, Parser)]
#[command(name = "postrider", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage or setting.")]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Settings file (TOML)
    #[arg(long, global = true, value_name = "FILE")]
    #[arg(help = "Settings file (TOML); POSTRIDER_CONFIG names one too")]
    config: Option<PathBuf>,
    /// Connection string of the database
    #[arg(long, global = true, value_name = "URL")]
    #[arg(
        help = "Connection string of the database; process lists show it, so prefer POSTRIDER_DATABASE_URL"
    )]
    database_url: Option<String>,
    /// Sets a setting, such as worker.threads=8; goes before environment and file
    #[arg(long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Prints one JSON document on standard output
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the main job on a database of its own: 235 notifications, mail and webhook sinks
    #[command(after_help = "Example: postrider demo --keep /tmp/demo")]
    Demo(demo::Demo),
    /// Delivers what is in the queue, until SIGTERM, SIGINT or SIGHUP
    #[command(
        after_help = "Example: postrider run\nExample: postrider run --until-empty --wait 10s"
    )]
    Run(run::Run),
    /// Creates or upgrades the schema
    #[command(after_help = "Example: postrider migrate --database-url postgres://localhost/app")]
    Migrate(queue::Migrate),
    /// Enqueues one notification, or many from JSON Lines
    #[command(after_help = enqueue::EXAMPLES)]
    Enqueue(enqueue::Enqueue),
    /// Keeps templates
    #[command(subcommand)]
    Template(template::Template),
    /// Keeps named webhook endpoints
    #[command(subcommand)]
    Endpoint(endpoint::Endpoint),
    /// Looks at messages, and retries or cancels them
    #[command(subcommand)]
    Message(message::Message),
    /// Reads the in-app inbox
    #[command(subcommand)]
    Inbox(inbox::Inbox),
    /// Turns templates off and on for recipients
    #[command(subcommand)]
    Preference(preference::Preference),
    /// Keeps the names of transports that an enqueue may name
    #[command(subcommand)]
    Method(method::Method),
    /// Sends one test message past the queue, and tells step by step what happens
    #[command(after_help = test_send::EXAMPLES)]
    TestSend(test_send::TestSend),
    /// Keeps addresses that no mail is sent to any more
    #[command(subcommand)]
    Suppression(suppression::Suppression),
    /// Stops deliveries, of all workers, until resume
    #[command(after_help = "Example: postrider pause")]
    Pause,
    /// Lets deliveries go on
    #[command(after_help = "Example: postrider resume")]
    Resume,
    /// Tells how the queue stands
    #[command(after_help = "Example: postrider stats --json")]
    Stats,
    /// Measures the worker against what the database and the client could do at most
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::Bench),
    /// Checks or prints the settings in force
    #[command(subcommand)]
    Config(config::ConfigCommand),
}

/// Reads the command line, does what it says, and reports.
pub(crate) fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    let output = Output { json: global.json };
    // The demo's failures are part of its plan, and its report tells them.
    let quiet = matches!(command, Command::Demo(_) | Command::Bench(_));
    match global.context(quiet).and_then(|context| dispatch(command, context, output)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => failed.report(),
    }
}

/// What every command needs.
struct Context {
    config: Config,
}

impl Global {
    /// Reads the settings; `quiet` logs errors only, unless the settings name a level.
    fn context(self, quiet: bool) -> Result<Context, Failed> {
        let sources = Sources {
            set: self.set,
            database_url: self.database_url,
            file: self.config,
            env: std::env::vars_os().collect(),
        };
        let mut config = Config::load(&sources).map_err(|err| Failed::usage(err.to_string()))?;
        if quiet && !config.origins.contains_key("log.level") {
            config.log.level = log::LevelFilter::Error;
        }
        // Fails only if a logger is installed already, and then it is ours.
        let _ = logging::init(&config.log);
        Ok(Context { config })
    }
}

impl Context {
    fn connect(&self) -> Result<postgres::Client, Failed> {
        Ok(Connector::new(&self.config.database)?.connect()?)
    }

    /// A connection to a schema that this build works with.
    fn client(&self) -> Result<postgres::Client, Failed> {
        let mut client = self.connect()?;
        postrider::store::migrate::check(&mut client)?;
        Ok(client)
    }
}

fn dispatch(command: Command, context: Context, output: Output) -> Result<(), Failed> {
    match command {
        Command::Demo(demo) => demo.run(output),
        Command::Run(run) => run.run(context.config, output),
        Command::Migrate(migrate) => migrate.run(&context, output),
        Command::Enqueue(enqueue) => enqueue.run(&context, output),
        Command::Template(template) => template.run(&context, output),
        Command::Endpoint(endpoint) => endpoint.run(&context, output),
        Command::Message(message) => message.run(&context, output),
        Command::Inbox(inbox) => inbox.run(&context, output),
        Command::Preference(preference) => preference.run(&context, output),
        Command::Method(method) => method.run(&context, output),
        Command::TestSend(test) => test.run(&context, output),
        Command::Suppression(suppression) => suppression.run(&context, output),
        Command::Pause => queue::set_paused(&context, true, output),
        Command::Resume => queue::set_paused(&context, false, output),
        Command::Stats => queue::stats(&context, output),
        Command::Bench(bench) => bench.run(output),
        Command::Config(command) => command.run(&context.config, output),
    }
}
