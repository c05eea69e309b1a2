//! Compares Services: addresses, ports, what may not change.
use super::*;

pub async fn services(on: &mut Session) {
    let port = |number: i64| json!({ "port": number, "name": format!("tcp-{number}") });
    let plain = service("db-1", json!({ "selector": { "name": "db" }, "ports": [port(3306)] }));
    let headless = with(plain.clone(), "/spec/clusterIP", json!("None"));
    let made = on.apply("first", OURS, plain.clone()).await;
    let address = made["spec"]["clusterIP"].clone();
    let again = on.apply("again", OURS, plain.clone()).await;
    on.note("unchanged", json!(again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]));
    let more = on
        .apply("more ports", OURS, with(plain.clone(), "/spec/ports", json!([port(3306), port(3307)])))
        .await;
    on.note("the address stays", json!(more["spec"]["clusterIP"] == address));
    on.apply("other port", OURS, with(plain.clone(), "/spec/ports", json!([port(80)]))).await;
    on.apply("target", OURS, with(plain.clone(), "/spec/ports", json!([{ "port": 80, "targetPort": 8080 }])))
        .await;
    on.apply("to headless", OURS, headless.clone()).await;
    on.apply("other selector", OURS, with(plain.clone(), "/spec/selector", json!({ "name": "x", "a": "b" })))
        .await;
    on.apply("duplicate", OURS, with(plain.clone(), "/spec/ports", json!([port(80), port(80)]))).await;
    let both = json!([{ "port": 53, "name": "tcp" }, { "port": 53, "protocol": "UDP", "name": "udp" }]);
    on.apply("two protocols", OURS, with(plain.clone(), "/spec/ports", both)).await;
    on.apply("headless", OURS, with(headless, "/metadata/name", json!("headless"))).await;
    on.apply("from headless", OURS, with(plain.clone(), "/metadata/name", json!("headless"))).await;
    on.apply(
        "headless, no ports",
        OURS,
        service("bare", json!({ "clusterIP": "None", "selector": { "name": "x" } })),
    )
    .await;
    on.apply(
        "ports for none",
        OURS,
        service("bare", json!({ "clusterIP": "None", "selector": { "name": "x" }, "ports": [port(80)] })),
    )
    .await;
    on.apply("digit", OURS, service("1-db", json!({ "selector": { "a": "b" }, "ports": [port(80)] }))).await;
    for (label, body) in [
        ("no ports", service("bad", json!({ "selector": { "a": "b" } }))),
        ("bad name", service("Bad_name", json!({ "ports": [port(80)] }))),
        ("long name", service(&"a".repeat(64), json!({ "ports": [port(80)] }))),
        ("names missing", service("bad", json!({ "ports": [{ "port": 80 }, { "port": 81 }] }))),
        (
            "same name",
            service("bad", json!({ "ports": [{ "port": 80, "name": "a" }, { "port": 81, "name": "a" }] })),
        ),
        ("port 0", service("bad", json!({ "ports": [{ "port": 0 }] }))),
        ("port 65536", service("bad", json!({ "ports": [{ "port": 65_536 }] }))),
        (
            "bad label",
            with(service("bad", json!({ "ports": [port(80)] })), "/metadata/labels/x", json!("a b")),
        ),
    ] {
        on.apply(label, OURS, body).await;
    }
    let twice =
        service("bad", json!({ "ports": [{ "port": 80, "name": "a" }, { "port": 80, "name": "b" }] }));
    on.call("duplicate", "POST", "services", twice).await;
    let posted = on
        .call("posted", "POST", "services?fieldManager=person", service("posted", plain["spec"].clone()))
        .await;
    on.call("put back", "PUT", "services/posted?fieldManager=person", posted).await;
    on.delete("delete", "services/posted", "Background", &Value::Null).await;
}

/// Services that are reached from outside.
pub async fn exposed(on: &mut Session) {
    let port = |number: i64| json!({ "port": number, "name": format!("tcp-{number}") });
    let open = |kind: &str, ports: Value| {
        service("open", json!({ "selector": { "name": "web" }, "type": kind, "ports": ports }))
    };
    let numbers = |service: &Value| {
        let ports = service["spec"]["ports"].as_array().into_iter().flatten();
        ports.map(|port| (port["port"].to_string(), port["nodePort"].clone())).collect::<Vec<_>>()
    };
    let made = on.apply("node ports", OURS, open("NodePort", json!([port(80), port(81)]))).await;
    let first = numbers(&made);
    let differ = first.len() == 2 && first[0].1 != first[1].1;
    on.note("two numbers, nothing to balance", json!([differ, made["status"]]));
    for (label, ports) in [
        ("again", json!([port(80), port(81)])),
        ("one more", json!([port(80), port(82), port(81)])),
        ("one fewer", json!([port(81), port(80)])),
        ("other target", json!([{ "port": 80, "name": "tcp-80", "targetPort": 8080 }, port(81)])),
        ("other number, same name", json!([{ "port": 90, "name": "tcp-80" }, port(81)])),
        ("back", json!([port(80), port(81)])),
    ] {
        let now = numbers(&on.apply(label, OURS, open("NodePort", ports)).await);
        let kept = first.iter().map(|(number, outside)| now.contains(&(number.clone(), outside.clone())));
        on.note("kept", json!(kept.collect::<Vec<_>>()));
    }
    let balanced = on.apply("balancer", OURS, open("LoadBalancer", json!([port(80), port(81)]))).await;
    on.note("kept", json!([numbers(&balanced) == first, balanced["status"]]));
    on.apply("inside", OURS, open("ClusterIP", json!([port(80), port(81)]))).await;
    on.apply("balancer", OURS, open("LoadBalancer", json!([port(80)]))).await;
    let plain = service("open", json!({ "selector": { "name": "web" }, "ports": [port(80)] }));
    on.apply("no type", OURS, plain).await;
    on.apply(
        "to headless",
        OURS,
        with(open("ClusterIP", json!([port(80)])), "/spec/clusterIP", json!("None")),
    )
    .await;
    for (label, body) in [
        ("headless and open", with(open("NodePort", json!([port(80)])), "/spec/clusterIP", json!("None"))),
        ("of no type", open("Other", json!([port(80)]))),
        ("without ports", open("NodePort", json!([]))),
        ("a number of one's own", open("NodePort", json!([{ "port": 80, "nodePort": 30_999 }]))),
        ("a number inside", open("ClusterIP", json!([{ "port": 80, "nodePort": 30_999 }]))),
        ("dry", open("LoadBalancer", json!([port(80)]))),
    ] {
        on.apply(label, DRY, with(body, "/metadata/name", json!("bad"))).await;
    }
    on.delete("delete", "services/open", "Background", &Value::Null).await;
}
