-- Version of the schema
select max(version) as version from postrider.migrations
