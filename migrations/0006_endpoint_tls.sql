-- TLS of a webhook endpoint: an authority of its own, and the certificate that we show.

alter table postrider.endpoints
    add column authorities        text check (octet_length(authorities) <= 262144),        -- PEM
    add column client_certificate text check (octet_length(client_certificate) <= 262144), -- PEM, with its chain
    -- Never in clear: whoever has it can pass for us.
    add column client_key         text check (client_key like 'sealed.%'),
    add check ((client_certificate is null) = (client_key is null));
