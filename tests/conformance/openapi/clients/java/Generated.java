package javax.annotation;

/** What generated classes are marked with. It left the JDK with version 9; nothing reads it here. */
public @interface Generated {
    String value();

    String date();

    String comments();
}
