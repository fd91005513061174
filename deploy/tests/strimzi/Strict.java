import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.introspect.Annotated;
import com.fasterxml.jackson.databind.introspect.JacksonAnnotationIntrospector;
import com.fasterxml.jackson.dataformat.yaml.YAMLFactory;
import io.strimzi.api.kafka.model.topic.KafkaTopic;
import io.strimzi.api.kafka.model.user.KafkaUser;
import java.io.File;
import java.util.Map;

/**
 * Reads Strimzi's objects with Strimzi's own classes, and strictly: {@code java -cp 'libs/*' Strict.java FILE...} prints a line for
 * each mistake. Its classes keep fields they do not know, and read a word they do not know as nothing.
 */
public class Strict {
    private static final Map<String, Class<?>> KINDS = Map.of("KafkaTopic", KafkaTopic.class, "KafkaUser", KafkaUser.class);

    public static void main(String[] files) throws Exception {
        ObjectMapper mapper = new ObjectMapper(new YAMLFactory());
        mapper.configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, true);
        mapper.setAnnotationIntrospector(new JacksonAnnotationIntrospector() {
            @Override
            public Boolean hasAnySetter(Annotated member) {
                return false;
            }

            @Override
            public JsonInclude.Value findPropertyInclusion(Annotated member) {
                return JsonInclude.Value.construct(JsonInclude.Include.ALWAYS, JsonInclude.Include.ALWAYS);
            }
        });
        boolean sound = true;
        for (String file : files) {
            var documents = mapper.readerFor(JsonNode.class).<JsonNode>readValues(new File(file));
            while (documents.hasNext()) {
                JsonNode document = documents.next();
                String mistake = mistake(mapper, document);
                if (mistake != null) {
                    sound = false;
                    System.out.println(document.path("kind").asText() + " " + document.path("metadata").path("name").asText() + ": " + mistake);
                }
            }
        }
        System.exit(sound ? 0 : 1);
    }

    private static String mistake(ObjectMapper mapper, JsonNode document) {
        Class<?> kind = KINDS.get(document.path("kind").asText());
        // Strimzi 1.0 and later take nothing older.
        if (kind == null || !document.path("apiVersion").asText().equals("kafka.strimzi.io/v1")) {
            return "no such kind in kafka.strimzi.io/v1";
        }
        try {
            return lost(document.path("spec"), mapper.valueToTree(mapper.convertValue(document, kind)).path("spec"), "spec");
        } catch (IllegalArgumentException unknown) {
            return unknown.getMessage().lines().findFirst().orElse("unreadable");
        }
    }

    /** Where something that was said is not in what was understood. */
    private static String lost(JsonNode said, JsonNode understood, String at) {
        if (said.isContainerNode()) {
            if (said.isArray() && said.size() != understood.size()) {
                return at + " has something nobody understands";
            }
            var names = said.fieldNames();
            for (int index = 0; index < said.size(); index++) {
                String name = said.isArray() ? null : names.next();
                JsonNode inner = said.isArray() ? understood.path(index) : understood.path(name);
                String found = lost(said.isArray() ? said.get(index) : said.get(name), inner, at + "." + (name == null ? index : name));
                if (found != null) {
                    return found;
                }
            }
            return null;
        }
        return said.asText().equals(understood.asText()) ? null : at + ": `" + said.asText() + "` is not understood";
    }
}
