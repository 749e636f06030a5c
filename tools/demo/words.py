"""Words, names and fillers of the generated data. All written for this project."""

from __future__ import annotations

WORDS = """
strawberry raspberry blueberry blackberry cranberry banana apple orange cherry pear lemon melon watermelon pineapple
coconut mango papaya peach plum grape apricot tomato potato carrot onion garlic pepper cabbage broccoli spinach lettuce
cucumber pumpkin zucchini mushroom noodle dumpling bread butter cheese yogurt chocolate vanilla cinnamon ginger sugar
coffee teapot kettle kitchen galley oven stove saucepan spoon fork knife plate bottle glass napkin recipe restaurant
breakfast lunch dinner supper dessert pancake waffle biscuit cookie pudding sandwich sausage chicken turkey salmon
lobster shrimp oyster ship sailor captain anchor harbor harbour rudder compass lighthouse island ocean river lake
mountain valley forest desert meadow glacier volcano canyon beach cliff waterfall thunder lightning rainbow snowflake
hurricane tornado weather summer winter autumn spring morning evening midnight yesterday tomorrow calendar minute second
hour week month year decade century bicycle motorcycle airplane helicopter train tram subway railway station engine
wheel bridge tunnel highway traffic signal ticket passenger luggage suitcase passport journey adventure holiday
mississippi tennessee massachusetts connecticut california colorado florida nebraska oklahoma philadelphia london paris
berlin madrid lisbon vienna prague warsaw helsinki stockholm copenhagen amsterdam brussels geneva beijing shanghai
guangzhou shenzhen hangzhou chengdu nanjing tokyo kyoto osaka seoul singapore bangkok delhi mumbai sydney melbourne
canberra wellington nairobi cairo casablanca toronto vancouver montreal mexico lima bogota santiago
computer keyboard monitor printer scanner mouse laptop server network router cable memory processor kernel compiler
program function variable pointer integer boolean string character letter vector matrix tensor token model attention
expert gradient parameter checkpoint inference latency throughput bandwidth scheduler queue cache prefix batch decode
prefill sampler temperature probability logarithm algorithm database transaction protocol message request response
client gateway cluster worker thread process mutex semaphore deadlock buffer overflow exception debugger terminal
window button screen pixel camera picture photograph painting sculpture museum gallery theater theatre orchestra violin
piano guitar trumpet drum melody rhythm harmony concert singer dancer actor actress director audience applause
teacher student school college university library dictionary encyclopedia grammar sentence paragraph chapter novel
poetry literature history geography mathematics algebra geometry arithmetic calculus physics chemistry biology
astronomy planet mercury venus earth mars jupiter saturn uranus neptune galaxy telescope microscope laboratory
experiment hypothesis theory evidence science scientist engineer doctor nurse hospital medicine pharmacy surgeon
dentist patient lawyer judge justice police detective firefighter soldier general president minister parliament
government election democracy republic kingdom emperor princess knight castle dragon wizard magic mystery treasure
elephant giraffe kangaroo crocodile alligator hippopotamus rhinoceros tiger lion leopard panther cheetah wolf fox
rabbit squirrel hamster hedgehog beaver otter dolphin whale shark octopus penguin ostrich flamingo peacock sparrow
pigeon eagle falcon owl parrot butterfly caterpillar dragonfly grasshopper mosquito spider scorpion beetle
ladybug bumblebee honeybee puppy kitten horse donkey sheep goat cattle buffalo camel llama
red green blue yellow purple violet crimson scarlet turquoise silver golden bronze copper aluminum diamond emerald
sapphire ruby crystal marble granite concrete plastic rubber leather cotton velvet ribbon scissors needle
hammer screwdriver wrench ladder bucket shovel garden flower sunflower tulip daffodil orchid jasmine lavender bamboo
willow maple cedar eucalyptus mahogany happiness sadness anger courage bravery freedom friendship kindness
patience wisdom intelligence knowledge imagination creativity curiosity excellence success failure accommodation
address committee embarrass occurrence necessary separate successful tomorrow unnecessary millennium assassin
bookkeeper balloon bubble cabbage dinner effort giggle puzzle puddle rattle settle shuttle terrible horrible
possible impossible incredible beautiful wonderful dangerous expensive interesting different important
government environment development management entertainment advertisement international responsibility characteristic
communication transportation organization understanding refrigerator electricity temperature photography
cat dog sun moon sky sea car bus pen cup hat box egg ice tea jam leg arm eye ear lip toe key map net oak pie
tree bee hello world happy sunny rainy cloudy windy quick brown jumps lazy level radar civic rotor madam noon
""".split()
WORDS = sorted(set(WORDS))

ONSETS = "b bl br c ch cl cr d dr f fl fr g gl gr h j k kl l m n p ph pl pr qu r s sc sh sk sl sm sn sp st str sw t th tr tw v w wh y z".split()
VOWELS = "a e i o u a e i o u ai ea ee oo ou ie y au".split()
CODAS = "b ck d ff g l ll m n nd ng nk nt p r rd rk rm rn rr rry s sh sk ss st t th tt x z ct lt mp".split() + [""] * 12

NAMES_EN = "Tom Anna Ben Lily Jack Mia Sam Emma Leo Nina Max Rosa Omar Ivy Paul Sara Adam Kate Hugo Zoe".split()
NAMES_ZH = "小明 小红 小华 小丽 小刚 小芳 小军 小梅 小李 小王 小张 小林".split()

# plural, singular
ITEMS_EN = [
    ("apples", "apple"), ("oranges", "orange"), ("pens", "pen"), ("books", "book"), ("stamps", "stamp"),
    ("marbles", "marble"), ("cookies", "cookie"), ("coins", "coin"), ("cards", "card"), ("eggs", "egg"),
    ("shells", "shell"), ("balloons", "balloon"), ("stickers", "sticker"), ("tickets", "ticket"),
    ("flowers", "flower"), ("candles", "candle"), ("buttons", "button"), ("pencils", "pencil"),
]
# measure word, noun
ITEMS_ZH = [
    ("个", "苹果"), ("个", "橙子"), ("支", "铅笔"), ("本", "书"), ("张", "邮票"), ("颗", "弹珠"), ("块", "饼干"),
    ("枚", "硬币"), ("张", "卡片"), ("个", "鸡蛋"), ("个", "气球"), ("朵", "花"), ("颗", "糖"), ("根", "蜡烛"),
]

NUMBER_WORDS_EN = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
).split()
NUMBER_WORDS_ZH = "零 一 二 三 四 五 六 七 八 九 十 十一 十二 十三 十四 十五 十六 十七 十八 十九 二十".split()

SYSTEM_PROMPTS = [
    "You are a helpful assistant.",
    "You are a helpful assistant",
    "You are a helpful, harmless and honest assistant.",
    "You are Galley's demo model.",
    "Be concise.",
    "Answer briefly.",
    "You are a careful assistant. Think step by step.",
    "You are a math tutor.",
    "Answer in the language of the user.",
    "你是一个有用的助手。",
    "你是一个乐于助人的助手",
    "请简短回答。",
    "你是一位数学老师。",
    "You are a friendly chatbot. Today is Tuesday.",
    "The assistant is helpful and polite. It never makes things up.",
    "You are an AI assistant. Follow the user's instructions carefully.",
    "Respond using markdown.",
    "You are DeepSeek, an AI assistant.",
]
