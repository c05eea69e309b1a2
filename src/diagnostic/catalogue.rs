//! The one catalogue of diagnostic codes: what each means, how much it weighs, what to do about it.

use super::Severity;

catalogue! {
    /// The text is larger than 256 KiB.
    TooLarge = "TOO_LARGE", Error, "shorten the template; long documentation is the usual cause";
    /// The text is not YAML.
    Syntax = "YAML_SYNTAX", Error, "correct the text at the line and column";
    /// Lists and mappings are nested deeper than 16.
    TooDeep = "TOO_DEEP", Error,
        "check indentation and brackets: a template needs no more than six levels";
    /// The text has more than 20,000 values.
    TooManyNodes = "TOO_MANY_NODES", Error, "split the template";
    /// The text contains a second document.
    MultipleDocuments = "MULTIPLE_DOCUMENTS", Error, "send one template at a time";
    /// The text is written for another program.
    ForeignFormat = "FOREIGN_FORMAT", Error,
        "write a Panamax template: a list `images`, each with `name` and `source`";
    /// A mapping of keys was expected.
    NotAMapping = "NOT_A_MAPPING", Error, "write `key: value` lines here";
    /// A list was expected.
    NotAList = "NOT_A_LIST", Error, "write `- item` lines here";
    /// One text or number was expected.
    NotAScalar = "NOT_A_SCALAR", Error, "write one value here; quote it if it has to be text";
    /// A key is itself a list or a mapping.
    KeyNotText = "KEY_NOT_TEXT", Error, "use plain words as keys";
    /// One mapping has the same key twice, or in two spellings that differ.
    DuplicateKey = "DUPLICATE_KEY", Error,
        "keep one of the two; if a new list item was meant, its `- ` is missing";
    /// The text uses YAML anchors or aliases.
    AliasForbidden = "ALIAS_FORBIDDEN", Error,
        "write the value out at each place; put a value in quotes that is text and begins with `&` or `*`";
    /// The text uses a YAML tag other than `!!str`.
    TagForbidden = "TAG_FORBIDDEN", Error, "remove the tag; quotes turn any value into text";
    /// The text uses the YAML merge key `<<`.
    MergeKey = "MERGE_KEY", Error, "write the keys out";
    /// The text contains a control character, or a name has one that YAML cannot hold.
    ControlCharacter = "CONTROL_CHARACTER", Error, "remove the character";
    /// A key, name, path, source or command contains a character that looks like a blank or like nothing.
    InvisibleCharacter = "INVISIBLE_CHARACTER", Error, "remove the character";
    /// The key is unknown here and was ignored.
    UnknownField = "UNKNOWN_FIELD", Warning, "remove the key or correct its spelling";
    /// A key stands outside of any entry, and without it an entry would be empty, or wide open.
    KeyMisplaced = "KEY_MISPLACED", Error, "indent it as the other keys of its entry";
    /// There were too many findings to list, errors among them.
    ErrorsLeftOut = "ERRORS_LEFT_OUT", Error, "correct the listed ones first";
    /// There were too many findings to list, none of them an error.
    NotesLeftOut = "NOTES_LEFT_OUT", Warning, "correct the listed ones first";
    /// Something is more, longer or larger than allowed.
    LimitExceeded = "LIMIT", Error, "have fewer of them, or make it smaller";
    /// The template has no image.
    NoImages = "NO_IMAGES", Error, "add at least one entry to `images`";
    /// A name is absent or has no letter and no digit.
    NameMissing = "NAME_MISSING", Error, "give a name with a letter or a digit";
    /// The template has no name that a deployment's could be made from, and the request gives none.
    DeploymentUnnamed = "DEPLOYMENT_UNNAMED", Warning,
        "give the template a name, or set `name` of the request (`--name`): a Deploy needs one";
    /// Two images end up with one Kubernetes name.
    NameCollision = "NAME_COLLISION", Error, "rename one of the two";
    /// The name belongs to Kubernetes itself.
    NameReserved = "NAME_RESERVED", Error, "choose another name";
    /// The name is longer than 63 characters and was cut; a hash keeps it apart from others.
    NameShortened = "NAME_SHORTENED", Warning, "choose a shorter name";
    /// Kubernetes allows only lower-case letters, digits and dashes; the name was adjusted.
    NameChanged = "NAME_CHANGED", Info, "use the adjusted name where a host is named";
    /// The name of a Service begins with a digit, which servers before 1.37 may refuse.
    ServiceNameDigit = "SERVICE_NAME_DIGIT", Warning, "begin the name or alias with a letter";
    /// The image has no source.
    SourceMissing = "SOURCE_MISSING", Error, "name the container image, as `mysql:5.5`";
    /// The source is not a container image reference.
    ImageReference = "IMAGE_REFERENCE", Error, "write `registry/repository:tag`, in lower case";
    /// The source has no tag or the tag `latest`, so what runs may change by itself.
    TagMissing = "TAG_MISSING", Warning, "add a tag to the image, as `name:1.2`, or a digest";
    /// An entry of image_configs is not the configuration of one image.
    ImageConfig = "IMAGE_CONFIG", Error,
        "send what `crane config`, `skopeo inspect --config --raw` or `docker image inspect` print of the image";
    /// Two entries of image_configs mean the same image.
    ImageConfigRepeated = "IMAGE_CONFIG_REPEATED", Error, "send one of the two";
    /// An entry of image_configs belongs to no image of the template.
    ImageConfigUnused = "IMAGE_CONFIG_UNUSED", Warning, "use the image's source as the key";
    /// A part of an image's configuration cannot be used and was left out.
    ImageConfigPartial = "IMAGE_CONFIG_PARTIAL", Warning, "list in the template what is needed";
    /// A port is not a plain decimal number.
    PortNotDecimal = "PORT_NOT_DECIMAL", Error, "write the port as digits, as 3306";
    /// A port is not between 1 and 65535.
    PortRange = "PORT_RANGE", Error, "choose a port between 1 and 65535";
    /// An entry of `ports` has no container port.
    PortMissing = "PORT_MISSING", Error, "add container_port";
    /// The protocol is neither TCP nor UDP.
    PortProtocol = "PORT_PROTOCOL", Error, "write TCP or UDP";
    /// The same port is listed twice and was merged.
    PortRepeated = "PORT_REPEATED", Info, "remove one of the two";
    /// No Service offers the entry's port under its number: another entry has that number of the Service.
    PortShadowed = "PORT_SHADOWED", Info, "publish one of the two on another host port";
    /// A link leads to an image that does not list the ports its clients use; the image is known, so links offer
    /// them.
    PortInferred = "PORT_INFERRED", Warning, "list the ports that links use under `expose`";
    /// Links to the image reach the ports that its configuration exposes, too.
    PortFromImage = "PORT_FROM_IMAGE", Info,
        "list the ports under `expose` to do without the configuration";
    /// The first port of links, which their variables without a number name, is not the first that the template lists:
    /// the image has a lower one. Docker chose it, too.
    PortFirst = "PORT_FIRST", Info,
        "take the variable that has the port in its name, as `DB_PORT_8080_TCP`";
    /// A link leads to an image without ports, and none is known for it. Its Service has a name alone, by which every
    /// port is reached; link variables have no port, or one that the image's name suggests.
    PortUnknown = "PORT_UNKNOWN", Warning, "list the port under `expose`";
    /// The image is known to have further ports; Docker let links reach them, so their Services offer them, too.
    PortAdded = "PORT_ADDED", Info,
        "nothing has to be done; docs/known-images.md says what is known of the image";
    /// A link does not reach a port that the image is known to have, because the Service has its number for another
    /// port or can be reached from outside the cluster.
    PortWithheld = "PORT_WITHHELD", Warning,
        "list the port under `expose`, or give the link an alias of its own";
    /// Two images need the same host port, so their pods cannot share a node.
    HostPortShared = "HOST_PORT_SHARED", Warning, "choose different host ports";
    /// Several replicas need one host port, so each needs a node of its own.
    HostPortPerNode = "HOST_PORT_PER_NODE", Warning,
        "remove host_port, or have as many nodes as replicas";
    /// The container port or the host port is already paired with another, so this host port is not used.
    HostPortDropped = "HOST_PORT_DROPPED", Warning, "give each container port one host port";
    /// No node takes the host port; the component's Service offers it instead.
    HostPortMoved = "HOST_PORT_MOVED", Info,
        "set options.host_ports to HOST_PORTS_KEEP to take the port of a node";
    /// The host interface is not an IP address.
    HostInterface = "HOST_INTERFACE", Error,
        "write an address, as 127.0.0.1; without the key, the port is published on every address";
    /// The port is bound to one address of whatever node runs the pod, as the template asks; no other address of
    /// a node has it.
    HostInterfaceKept = "HOST_INTERFACE_KEPT", Warning,
        "call it on that node, or over a link; remove host_interface if others are to reach the port";
    /// The port was to be published on one address of the host alone. That cannot be kept, so it is not published.
    PortNotPublished = "PORT_NOT_PUBLISHED", Warning,
        "reach the port over a link; remove host_interface if others are to reach it";
    /// The agent wrote 0 for an exposed port that it could not read; the port was left out.
    PortUnread = "PORT_UNREAD", Warning,
        "list the port under `expose` as a number, or add it with an override";
    /// An exposed port is offered by no Service, since no link leads to the image; its pod still listens.
    ExposeUnused = "EXPOSE_UNUSED", Info, "link to the image, or list the port under `ports`";
    /// Links reach ports of the image that are not published, or not under these numbers, so what is published has a
    /// Service of its own, and only that one is reached from outside the cluster.
    PublishedApart = "PUBLISHED_APART", Info,
        "give the links an alias that is not the image's own name to have the exposed Service called after the image";
    /// Ports were to be exposed outside the cluster, but no image publishes one.
    ExposureUnused = "EXPOSURE_UNUSED", Warning,
        "list the port under `ports`, or leave options.exposure out";
    /// An image links to itself; the link was left out.
    LinkSelf = "LINK_SELF", Warning, "remove the link";
    /// The same link, or the same image to take volumes from, is listed twice and was merged.
    LinkRepeated = "LINK_REPEATED", Info, "remove one of the two";
    /// A link names an image that the template does not have.
    LinkTargetMissing = "LINK_TARGET_MISSING", Error,
        "add the image, or correct the link's service";
    /// A link names its image in another spelling.
    LinkTargetAssumed = "LINK_TARGET_ASSUMED", Info, "spell the link's service as the image's name";
    /// One image uses one alias for two targets.
    AliasRepeated = "ALIAS_REPEATED", Error, "give each link of an image its own alias";
    /// The alias is used for something else in the template, too, so the link got a Service and variables of its own.
    AliasAmbiguous = "ALIAS_AMBIGUOUS", Warning,
        "choose an alias that is used for one target and is no other image's name";
    /// The template sets a variable that a link would set; the template's value stays.
    VariableKept = "VARIABLE_KEPT", Info, "remove the variable if the link's value is wanted";
    /// Docker gave a link the variables of its target, too; the kubelet gives the addresses alone.
    LinkVariablesPartial = "LINK_VARIABLES_PARTIAL", Info,
        "set options.link_environment to LINK_ENVIRONMENT_DECLARED for Docker's complete set";
    /// Two links of one image have a variable of the same name; the first has it.
    LinkVariableTaken = "LINK_VARIABLE_TAKEN", Warning,
        "choose another alias: none may begin like the variables of another, as `DB_ENV` does beside `DB`";
    /// A value or a command names a host by a name that Docker knew and the cluster does not.
    HostNameLost = "HOST_NAME_LOST", Warning,
        "write the name that the message gives, or choose an alias of lower-case letters, digits and dashes";
    /// The kubelet sets variables of Services in pods that have no link; Docker never did.
    ServiceVariables = "SERVICE_VARIABLES", Info,
        "set options.link_environment to LINK_ENVIRONMENT_DECLARED to have the variables of links alone";
    /// The name of an environment variable is not allowed.
    VariableName = "ENV_NAME", Error,
        "use letters, digits and underscores; the value belongs under `value`";
    /// Servers before 1.34 may refuse this name of an environment variable.
    VariableNameRelaxed = "ENV_NAME_RELAXED", Warning,
        "begin with a letter; use letters, digits, `_`, `-` and `.`";
    /// An entry of `environment` has an unknown key. It may be a piece of a value, so it is not shown.
    VariableKey = "ENV_KEY", Error,
        "put the value in quotes, or remove the key; an entry has `variable`, `value` and `required`";
    /// One image sets a variable twice; the last value counts.
    VariableRepeated = "ENV_REPEATED", Warning, "remove one of the two";
    /// A required variable has no value.
    VariableRequired = "ENV_REQUIRED_EMPTY", Warning,
        "set the value in the template or the override";
    /// A `#` behind a blank begins a comment, so the value ends before it.
    ValueCut = "VALUE_CUT", Warning,
        "put the whole value in quotes; if a comment was meant, write a blank behind its `#`";
    /// The value of a variable whose name looks secret ends with a line end, which a program takes as a part of it.
    SecretLineEnd = "SECRET_LINE_END", Info,
        "write the value on the line of its key, or put a `-` behind the sign that begins its block";
    /// The name of the variable looks secret; its value is kept in the component's Secret.
    SecretLifted = "SECRET_LIFTED", Info,
        "set options.secrets to SECRET_HANDLING_PLAIN to keep it in the pod's definition";
    /// A value is neither true nor false.
    NotABoolean = "NOT_A_BOOLEAN", Error, "write true or false";
    /// A quote in the command is not closed.
    CommandQuoting = "COMMAND_QUOTING", Error, "close the quote, or escape it with a backslash";
    /// The command begins with options of `docker run`; they reach the container as arguments.
    CommandDockerFlags = "COMMAND_DOCKER_FLAGS", Warning, "use links, ports and volumes instead";
    /// Neither the template nor the image says what to run, or what runs ends at once.
    NothingRuns = "NOTHING_RUNS", Warning,
        "set `command` to a program that keeps running; an image that only owns volumes can go, if those that use them list them";
    /// The image's user is root, or it names none. Pod Security level `restricted` refuses that.
    RunsAsRoot = "RUNS_AS_ROOT", Info,
        "nothing has to be done in a namespace of level `baseline` or `privileged`; deploy it to one of these";
    /// The image has a health check. Kubernetes knows nothing of it, so no traffic waits for it and nothing restarts.
    HealthCheckUnused = "HEALTH_CHECK_UNUSED", Info,
        "let what calls the component try again until it answers: ready means here that the container runs";
    /// The command is text that looks like a list in JSON; it is split into words like any other command.
    CommandList = "COMMAND_LIST", Warning,
        "remove the quotes around the list: a command may be a list of words";
    /// The command ends at once, and the cluster starts it again for ever.
    CommandEnds = "COMMAND_ENDS", Warning,
        "give it a command that keeps running, as `sleep infinity`, or move its volumes to the image that uses them and remove it";
    /// The count is not a whole number.
    CountNotANumber = "COUNT_NOT_A_NUMBER", Error, "write the count as digits";
    /// A volume's path in the container is relative, which no container runtime takes; the volume was left out.
    VolumePathRelative = "VOLUME_PATH_RELATIVE", Warning,
        "write an absolute path, or name the other image under `volumes_from`";
    /// A volume's path in the container is missing or not a plain absolute path.
    VolumePath = "VOLUME_PATH", Error,
        "write an absolute path without `..`, with `:ro` behind it for read-only";
    /// Two volumes of one image have the same path in the container.
    VolumeRepeated = "VOLUME_REPEATED", Error, "mount each path once";
    /// Volumes are not translated; what the container writes there is lost with the pod.
    VolumeOmitted = "VOLUME_OMITTED", Warning, "set options.volumes to say what volumes become";
    /// The volume is a directory that lives as long as its pod; what the host's path holds is not in it.
    VolumeEphemeral = "VOLUME_EPHEMERAL", Info,
        "set options.volumes to VOLUME_MAPPING_PERSISTENT_VOLUME_CLAIM to keep what is written";
    /// The volume is kept by a claim of its own; what the host's path holds is not in it.
    VolumeClaimed = "VOLUME_CLAIMED", Info,
        "copy what the path of the host holds into the claim once";
    /// The image lends what it declares as a volume itself, so that is a volume of the component.
    VolumeFromImage = "VOLUME_FROM_IMAGE", Info,
        "list the path under `volumes` of that image to do without the configuration";
    /// The image declares a volume that the template does not list. It is a directory of the container's own: a restart
    /// loses what is in it, where Docker kept it as long as the container.
    VolumeUnlisted = "VOLUME_UNLISTED", Info,
        "list the path under `volumes` to keep what is written there";
    /// The image declares a volume at this path. Docker copied the image's files into it; here they are hidden.
    VolumeNotFilled = "VOLUME_NOT_FILLED", Warning,
        "set options.volume_filling to VOLUME_FILLING_FROM_IMAGE to fill the claim as Docker did";
    /// Nothing of the image is copied into the volume: the program is known to keep its own data there, or the claim was
    /// made by an earlier version.
    VolumeLeftAsIs = "VOLUME_LEFT_AS_IS", Info,
        "copy what the program misses from the image into the volume once";
    /// A new claim is filled with what the image has at the path, by the image itself before the container starts.
    VolumeFilled = "VOLUME_FILLED", Info,
        "leave options.volume_filling out for an image without a shell, or to start with an empty claim";
    /// The claims of the component's pods are made writable for the group that the image runs as.
    VolumeGroup = "VOLUME_GROUP", Info,
        "bring a configuration of the image with another USER if it runs as somebody else";
    /// The image does not run as root, and its new claim belongs to root, so its program probably cannot write there.
    VolumeOwner = "VOLUME_OWNER", Warning,
        "leave out host_path and set options.volume_filling to VOLUME_FILLING_FROM_IMAGE: a new claim then has the owner that the image has there";
    /// The image does not run as root, and a claim of its pods keeps the owner that it has.
    VolumeOwnerKept = "VOLUME_OWNER_KEPT", Info,
        "give the claim's files to the program's user if it cannot write them";
    /// The volume would mount a system path of the node, or cover a system path or a file of the container; it was left out.
    VolumeForbidden = "VOLUME_FORBIDDEN", Warning, "mount a directory of the application's own";
    /// The path of the host may be that of a file, but the volume is a directory.
    VolumePerhapsFile = "VOLUME_PERHAPS_FILE", Warning,
        "end host_path with a `/` if it is a directory; build a file into the image, or give its content to the program in a variable";
    /// A path of the host was to be mounted, but the volume names none; it gets a directory that lives as long as its pod.
    VolumeHostPathMissing = "VOLUME_HOST_PATH_MISSING", Warning, "add host_path";
    /// Components that shared a directory do so no more.
    VolumeNotShared = "VOLUME_NOT_SHARED", Warning,
        "share it with `volumes_from` and volume claims";
    /// Several pods mount the same volume, which needs one node for all, or storage that many nodes can mount.
    VolumesShared = "VOLUMES_SHARED", Warning,
        "choose a storage class that several nodes can mount, or run one replica";
    /// The image to take volumes from mounts none, and none is known that its container image declares.
    VolumesFromNothing = "VOLUMES_FROM_NOTHING", Warning,
        "list the paths under `volumes` of that image, or bring its configuration in image_configs";
    /// Two volumes need one path of the container; the image's own, or the first, got it.
    VolumeShadowed = "VOLUME_SHADOWED", Info, "mount one of the two elsewhere";
    /// An option keeps something that Pod Security level baseline refuses; profile MODERN passes that level otherwise.
    PodSecurityBaseline = "POD_SECURITY_BASELINE", Warning,
        "leave the option out, or deploy where the level is privileged";
    /// volumes_from names an image that the template does not have, or leads back to itself.
    VolumesFromTarget = "VOLUMES_FROM_TARGET", Error, "name another image of the template";
    /// The override names an image that the template does not have.
    OverrideImageMissing = "OVERRIDE_IMAGE_MISSING", Error, "spell the name as in the template";
    /// An override cannot change this field; the template's value stays.
    OverrideFieldIgnored = "OVERRIDE_FIELD_IGNORED", Warning, "change the template itself";
    /// A port of an override takes the place of several of the template.
    OverrideReplacesSeveral = "OVERRIDE_REPLACES_SEVERAL", Warning, "repeat in the override what is to stay";
    /// The template becomes more than 256 Kubernetes objects.
    TooManyObjects = "TOO_MANY_OBJECTS", Error, "split the template";
    /// A Kubernetes object, or all together, would be too large to store.
    ObjectTooLarge = "OBJECT_TOO_LARGE", Error,
        "shorten what its image has: values of variables, the command, labels and annotations of the options";
    /// The component runs as a ReplicationController and stays one, whatever its count.
    ControllerKept = "CONTROLLER_KEPT", Info,
        "tear the deployment down and deploy it again to get a bare Pod";
    /// The replica count on the cluster stays as somebody has set it.
    ReplicasKept = "REPLICAS_KEPT", Info, "change deployment.count, or call Scale";
    /// The replica count on the cluster was reset, because the template's count changed.
    ReplicasTakenBack = "REPLICAS_TAKEN_BACK", Info, "call Scale to set the count again";
    /// Pods of an earlier revision are replaced, ready ones one at a time; a component with one replica is interrupted.
    PodsReplaced = "PODS_REPLACED", Info, "expect an interruption until the new pods are ready";
    /// New labels or annotations alone start no pod again; pods get them when they change themselves.
    PodMetadataKept = "POD_METADATA_KEPT", Info,
        "change the image or a variable as well to have them on the pods at once";
    /// The volume claim keeps the size that somebody has set.
    VolumeSizeKept = "VOLUME_SIZE_KEPT", Info, "set options.volume_size to what it has, or more";
    /// The object cannot change in place: it is deleted and created again.
    ObjectReplaced = "OBJECT_REPLACED", Info, "expect an interruption; the message says why";
    /// Another field manager has changed a field that the template sets; its value stays, as options.conflicts asks.
    FieldYielded = "FIELD_YIELDED", Info,
        "set options.conflicts to CONFLICT_POLICY_FORCE to set the template's value";
    /// Another field manager has changed a field that the template sets; the template's value is set again, as
    /// options.conflicts asks. The size of a volume claim is set whatever that asks, where more is asked for than the
    /// other has set.
    FieldTaken = "FIELD_TAKEN", Info,
        "agree with whoever changed it, or set options.conflicts to CONFLICT_POLICY_YIELD";
    /// The template no longer sets a field that another field manager holds, too, so the field stays as it is.
    FieldStays = "FIELD_STAYS", Warning,
        "undo the other's change, or delete the object and deploy again";
    /// Another field manager sets a field that the template does not set; it stays as it is.
    FieldBeside = "FIELD_BESIDE", Info, "nothing to do, if whoever set it means it";
    /// The object was written from outside since it was last deployed, so it is applied again.
    ObjectDrifted = "OBJECT_DRIFTED", Info, "find out who writes to the deployment's objects";
    /// Somebody has deleted the object, and it is not gone yet: a Deploy waits for that, for a minute at the most.
    ObjectGoing = "OBJECT_GOING", Info, "look at its finalizers if it does not go";
    /// The plan says what would be done to the object, but no dry run could try it.
    NotTried = "NOT_TRIED", Info, "be prepared that the Deploy itself is refused";
    /// The component changes its kind of workload, so it is interrupted until the new pods are ready.
    WorkloadReplaced = "WORKLOAD_REPLACED", Info,
        "expect an interruption until the new pods are ready";
}
