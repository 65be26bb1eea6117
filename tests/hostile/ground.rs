//! The server, a database for each role, and its logins.

use std::fmt::Write;

use postgres::{Client, NoTls};
use postrider::embedded::Postgres;
use postrider::store::admin::templates::{self, NewTemplate};
use postrider::store::migrate::{make_roles, migrate};

use crate::plan::Role;

const SETTINGS: [(&str, &str); 2] = [("fsync", "off"), ("max_connections", "100")];
/// Name of the template of the good messages.
pub(crate) const GOOD: &str = "good";

/// Counts how often a message is leased.
const CLAIMS: &str = "
    create table public.claims (id uuid primary key, count integer not null);
    create function public.note_claim() returns trigger language plpgsql security definer as $$
    begin
        insert into public.claims values (new.id, 1)
        on conflict (id) do update set count = claims.count + 1;
        return null;
    end $$;
    create trigger note_claim after update of claim on postrider.messages for each row
        when (new.claim <> 0 and new.claim <> old.claim) execute function public.note_claim()";

/// The logins, and what each is a member of.
const LOGINS: [(&str, &str); 4] = [
    ("good", "postrider_enqueue"),
    ("enqueue", "postrider_enqueue"),
    ("worker", "postrider_worker"),
    ("nobody", ""),
];

pub(crate) fn server() -> Postgres {
    Postgres::temporary_with(&SETTINGS).unwrap()
}

/// The database of a role.
pub(crate) struct Ground<'a> {
    server: &'a Postgres,
    name: &'static str,
}

impl<'a> Ground<'a> {
    pub(crate) fn new(server: &'a Postgres, role: Role) -> Self {
        let ground = Self { server, name: role.name() };
        let mut admin = Client::connect(&server.url("postgres"), NoTls).unwrap();
        admin.batch_execute(&format!("create database {}", ground.name)).unwrap();
        let mut admin = ground.admin();
        migrate(&mut admin).unwrap();
        make_roles(&mut admin).unwrap();
        let mut sql = String::from(CLAIMS);
        for (login, of) in LOGINS {
            let make = format!("create role {login} login password '{login}'");
            write!(sql, "; do $$ begin {make}; exception when duplicate_object then null; end $$")
                .unwrap();
            write!(sql, "; create schema {login} authorization {login}").unwrap();
            if !of.is_empty() {
                write!(sql, "; grant {of} to {login}").unwrap();
            }
        }
        admin.batch_execute(&sql).unwrap();
        let template = NewTemplate {
            name: GOOD.into(),
            title: "Number {{labels.number}}".into(),
            body: "Hello **{{user_name}}**".into(),
            enabled_by_default: true,
            ..NewTemplate::default()
        };
        templates::set(&mut admin, &template).unwrap();
        ground
    }

    /// Connection string of the owner of the tables.
    pub(crate) fn admin_url(&self) -> String {
        self.server.url(self.name)
    }

    pub(crate) fn admin(&self) -> Client {
        Client::connect(&self.admin_url(), NoTls).unwrap()
    }

    /// Connection string of a login.
    pub(crate) fn url(&self, login: &str) -> String {
        let url = self.admin_url();
        let (_, server) = url.split_once('@').unwrap();
        format!("postgres://{login}:{login}@{server}")
    }
}
